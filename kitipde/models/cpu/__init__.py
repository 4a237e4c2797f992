"""Layers in the memory layout that is fast on a CPU."""
