"""What a data set looks like, in numbers and pictures."""
