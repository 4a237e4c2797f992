"""Settings of the residual that joins x and v in each layer (SPEC section 3)."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from kitipde.config.section import Section

__all__ = ["ResidualConfig"]


class ResidualConfig(Section):
    """How a layer joins its skip x and its update v while training; in evaluation it is always x + dt·v.

    Attributes:
        kind: `plain` is the addition; `kiti` is equations (2)-(5) of KITINet.
        layout: how a feature map becomes particles; `flat` reshapes a sample to (collision_heads, N).
        collision_heads: d, the dimension of the space in which particles collide.
        coll_coef: a pair collides if V_r e^(-X_r) / max V_r > 1 - coll_coef.
        dt: time step of the drift, in layers.
        update_position: False keeps x* = x (the ablation of Table 6).
    """

    kind: Literal["plain", "kiti"] = "plain"
    layout: Literal["flat"] = "flat"
    collision_heads: PositiveInt = 256
    coll_coef: float = Field(default=0.9, ge=0.0, le=1.0)
    dt: PositiveFloat = 1.0
    update_position: bool = True
