"""The air of a standard day, far from the airfoil: kelvin, pascal, J/(kg K), kg/m³, m/s."""

import math

__all__ = ["DENSITY", "GAMMA", "GAS_CONSTANT", "PRESSURE", "SOUND", "TEMPERATURE"]

GAMMA = 1.4
TEMPERATURE = 288.15
PRESSURE = 101325.0
GAS_CONSTANT = 287.05
DENSITY = PRESSURE / (GAS_CONSTANT * TEMPERATURE)
SOUND = math.sqrt(GAMMA * GAS_CONSTANT * TEMPERATURE)
