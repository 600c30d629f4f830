"""Jobs: every task that takes long is a process of its own, and its folder tells the truth."""
