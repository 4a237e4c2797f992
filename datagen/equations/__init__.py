"""Equations: what each data set solves, one a file, and their registry."""
