"""Settings of the residual that joins x and v in each layer (KITINet, section 3 and appendix D)."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, model_validator

from kitipde.config.section import Count, Section

__all__ = ["ResidualConfig"]

Finite = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Coefficient = Annotated[float, Field(ge=0.0, le=1.0)]


class ResidualConfig(Section):
    """How a layer joins its skip x and its update v while training; in evaluation it is always x + dt·v.

    How often particles collide is set in one of two ways: `coll_coef` is the paper's threshold, `target_rate` the
    number of collisions per particle, from which the threshold follows in every sample.

    Attributes:
        kind: `plain` is the addition; `kiti` is equations (2)-(5) of KITINet; `kiti-published` has the signs and
            factors of the published scripts, which push colliding velocities apart; `kiti-acceleration` is the
            "a-edition" of appendix D, where v is an acceleration and velocity is carried from layer to layer; `mixing`
            is `kiti` without the random direction; `gaussian` adds normal noise of the variance that the collisions of
            `kiti` would have, and nothing collides; `dropout` drops elements of v.
        layout: how a feature map becomes particles; `flat` reshapes a sample to (collision_heads, N), `token` splits
            the channels of each grid point to (collision_heads, N), in `channel` each channel's field is one particle.
        collision_heads: d, the dimension of the space in which particles collide; `auto` is half of the channels for
            `token`, so that each point holds two particles, and for `flat` the channels of eight points, or of as many
            as divide the grid; `channel` does not use it.
        coll_coef: a pair collides if V_r e^(-X_r) / max V_r > 1 - coll_coef; `auto` follows `target_rate`; alone
            it is the rate that costs least where nothing is gained (docs/results/kiti.md): 0.01, annealed.
        target_rate: collisions per particle.
        dt: time step of the drift, in layers.
        update_position: False keeps x* = x (the ablation of Table 6).
        schedule: how coll_coef or target_rate (or the noise's rate, or the dropout) falls over the run: not at all,
            linearly to zero, along a half cosine to zero, or `annealed`: linearly to zero and with the learning rate.
        warmup: share of the run over which it first rises linearly from zero.
        layers: the layers that collide; the others add.
        noise: `exact` draws a direction for each colliding pair; `gaussian` draws their sum from the normal law of
            the same mean and covariance, which is cheaper when a particle collides many times and d is large.
        dropout: probability with which `dropout` drops an element.
    """

    kind: Literal["plain", "kiti", "kiti-published", "kiti-acceleration", "mixing", "gaussian", "dropout"] = "plain"
    layout: Literal["flat", "token", "channel"] = "flat"
    collision_heads: Count | Literal["auto"] = "auto"
    coll_coef: Coefficient | Literal["auto"] = 0.9
    target_rate: Finite | None = None
    dt: Finite = 1.0
    update_position: bool = True
    schedule: Literal["constant", "linear", "cosine", "annealed"] = "constant"
    warmup: float = Field(default=0.0, ge=0.0, lt=1.0)
    layers: Literal["all", "last"] | tuple[NonNegativeInt, ...] = "all"
    noise: Literal["exact", "gaussian"] = "exact"
    dropout: float = Field(default=0.2, ge=0.0, lt=1.0)

    @model_validator(mode="before")
    @classmethod
    def _rate_and_coefficient_go_together(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if given.get("target_rate") is not None and "coll_coef" not in given:
            return {**given, "coll_coef": "auto"}
        if given.get("coll_coef") == "auto" and given.get("target_rate") is None:
            return {"schedule": "annealed", **given, "target_rate": 0.01}
        return given

    @model_validator(mode="after")
    def _one_control_of_the_rate(self) -> Self:
        if self.target_rate is not None and self.coll_coef != "auto":
            raise ValueError(
                f"target_rate={self.target_rate} and coll_coef={self.coll_coef} both set how often particles collide: "
                "leave coll_coef out, or set it to auto"
            )
        if self.noise == "gaussian" and self.kind not in ("plain", "kiti", "kiti-published"):
            raise ValueError(f"noise=gaussian is for kind=kiti and kind=kiti-published, not for kind={self.kind}")
        if self.kind != "plain" and not self.layers:
            raise ValueError("layers is empty: name at least one, or use kind=plain")
        return self
