"""Condensation of weights: experiments, tables, two-phase training."""
