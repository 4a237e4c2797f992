"""Exponential time stepping, random fields, closed forms."""
