"""Equations: what each dataset solves, one a file, and their registry."""
