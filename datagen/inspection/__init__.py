"""What a dataset looks like, in numbers and pictures."""
