"""What every optimizer is: its options, its library class, what it asks of a run. No torch."""
