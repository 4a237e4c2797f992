"""Settings of the collisions between gradients (KO; SPEC section 9)."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, model_validator

from kitipde.config.section import Section

__all__ = ["OptimizerCollisionsConfig"]

Finite = Annotated[NonNegativeFloat, Field(allow_inf_nan=False)]


class OptimizerCollisionsConfig(Section):
    """What happens to the gradients of a layer's neurons before the optimizer's step.

    The paper names no value of coll_coef. It means two things: with `hard` a pair of neurons collides if
    g_r e^(-w_r) / max g_r > 1 - coll_coef, so that 0.1 leaves few pairs and 1 all of them; with `soft` it multiplies
    the repulsion, which grows with the number of similar neurons.

    Attributes:
        kind: `hard` is equations (5)-(8) of KO, `soft` its Algorithm 2, `none` leaves the gradients alone.
        coll_coef: the paper's; at most 1 with `hard`.
        target_rate: with `hard`, collisions per neuron, from which the threshold follows in each layer, in place of
            coll_coef.
        layers: which layers: `last-linear` (the paper's choice; the last one with more than one neuron), `all`, the
            kinds `dense`, `convolutional`, `spectral`, names or patterns such as `projection.*`, or a list of these.
        self_similarity: with `soft`, whether the diagonal of the cosine matrices takes part: Algorithm 2 as printed,
            where every neuron also repels itself.
        noise: with `hard`, `exact` draws a direction for each colliding pair, `gaussian` their sum from the normal law
            of the same mean and covariance, which is cheaper when a neuron collides many times.
    """

    kind: Literal["none", "hard", "soft"] = "none"
    coll_coef: Finite = 0.1
    target_rate: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    layers: str | tuple[str, ...] = "last-linear"
    self_similarity: bool = False
    noise: Literal["exact", "gaussian"] = "exact"

    @model_validator(mode="after")
    def _settings_belong_to_the_kind(self) -> Self:
        if self.kind == "hard" and self.coll_coef > 1:
            raise ValueError(f"coll_coef={self.coll_coef} must be at most 1 with kind=hard")
        if self.target_rate is not None and self.kind == "soft":
            raise ValueError("target_rate counts collisions, which kind=soft has none of: use coll_coef")
        if self.target_rate is not None and self.noise == "gaussian":
            raise ValueError("noise=gaussian goes with coll_coef; with target_rate use noise=exact")
        if not self.layers:
            raise ValueError("layers is empty: name at least one, or use kind=none")
        return self
