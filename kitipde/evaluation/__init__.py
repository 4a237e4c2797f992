"""Errors, resolution generalisation and statistics over seeds."""
