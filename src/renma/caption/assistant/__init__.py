"""What ``renma caption maruzen`` and ``renma caption audit`` know and reckon."""
