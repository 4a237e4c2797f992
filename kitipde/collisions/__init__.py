"""Kinetic (KITI) collisions of features, and the residuals built from them."""
