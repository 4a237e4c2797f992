"""Settings of the collisions between gradients (KO, equations (5)-(8))."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, model_validator

from kitipde.config.section import Section

__all__ = ["OptimizerCollisionsConfig", "with_defaults"]

Finite = Annotated[NonNegativeFloat, Field(allow_inf_nan=False)]


def with_defaults(kind: str, coll_coef: float | None, target_rate: float | None) -> tuple[float | None, float | None]:
    """coll_coef and target_rate with what stands for them if they are not given.

    The paper names no values. A threshold suits only layers whose weights are as far apart as those it was chosen for,
    so hard collisions are rare ones by their rate.
    """
    if kind == "soft" and coll_coef is None:
        return 0.1, target_rate
    if kind == "hard" and coll_coef is None and target_rate is None:
        return None, 0.2
    return coll_coef, target_rate


class OptimizerCollisionsConfig(Section):
    """What happens to the gradients of a layer's neurons before the optimizer's step.

    Attributes:
        kind: `hard` is equations (5)-(8) of KO, `soft` its Algorithm 2, `none` leaves the gradients alone.
        coll_coef: with `hard` a pair of neurons collides if g_r e^(-w_r) / max g_r > 1 - coll_coef, at most 1; with
            `soft` it multiplies the repulsion, which grows with the number of similar neurons, 0.1 if not given.
        target_rate: with `hard`, collisions per neuron, from which the threshold follows in each layer, in place of
            coll_coef; 0.2 if neither is given.
        layers: which layers: `last-linear` (the paper's choice; the last one with more than one neuron), `all`, the
            kinds `dense`, `convolutional`, `spectral`, names or patterns such as `projection.*`, or a list of these.
        self_similarity: with `soft`, whether the diagonal of the cosine matrices takes part: Algorithm 2 as printed,
            where every neuron also repels itself.
        noise: with `hard`, `exact` draws a direction for each colliding pair, `gaussian` their sum from the normal law
            of the same mean and covariance, which is cheaper when a neuron collides many times; it needs coll_coef.
    """

    kind: Literal["none", "hard", "soft"] = "none"
    coll_coef: Finite | None = None
    target_rate: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    layers: str | tuple[str, ...] = "last-linear"
    self_similarity: bool = False
    noise: Literal["exact", "gaussian"] = "exact"

    @model_validator(mode="before")
    @classmethod
    def _what_is_not_given(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("noise") == "gaussian":
            return given
        coll_coef, target_rate = with_defaults(str(given.get("kind")), given.get("coll_coef"), given.get("target_rate"))
        return {**given, "coll_coef": coll_coef, "target_rate": target_rate}

    @model_validator(mode="after")
    def _settings_belong_to_the_kind(self) -> Self:
        if self.kind == "hard" and self.coll_coef is not None and self.coll_coef > 1:
            raise ValueError(f"coll_coef={self.coll_coef} must be at most 1 with kind=hard")
        if self.target_rate is not None and self.kind == "soft":
            raise ValueError("target_rate counts collisions, which kind=soft has none of: use coll_coef")
        if self.target_rate is not None and self.coll_coef is not None:
            raise ValueError(
                f"target_rate={self.target_rate} and coll_coef={self.coll_coef} both set how many pairs collide: "
                "leave one out"
            )
        if self.kind == "none" and (self.coll_coef is not None or self.target_rate is not None):
            raise ValueError("coll_coef and target_rate do nothing with kind=none: set kind=soft or kind=hard")
        if self.kind == "hard" and self.noise == "gaussian" and self.coll_coef is None:
            raise ValueError("noise=gaussian needs coll_coef (for example 0.9) with kind=hard")
        if self.kind == "soft" and self.noise == "gaussian":
            raise ValueError("noise=gaussian is for kind=hard: soft collisions have no noise")
        if self.kind == "hard" and self.self_similarity:
            raise ValueError("self_similarity is for kind=soft")
        if not self.layers:
            raise ValueError("layers is empty: name at least one, or use kind=none")
        return self
