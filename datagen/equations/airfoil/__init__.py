"""Compressible flow round an airfoil."""
