"""Errors of predicted fields: registered functions that say what they need. docs/metrics.md tells what each is for."""

from collections.abc import Mapping, Sequence

from datagen.geometry import Geometry
from datagen.registry import Registry
from kitipde.errors import unknown
from kitipde.evaluation.metrics import flow, norms, spectral
from kitipde.evaluation.metrics.compared import Compared, Quantities, grouped, joined
from kitipde.evaluation.metrics.norms import correlation, correlation_time, with_spread
from kitipde.evaluation.metrics.registry import Metric

__all__ = [
    "METRICS",
    "Compared",
    "Metric",
    "Quantities",
    "applicable",
    "correlation_time",
    "every_metric",
    "grouped",
    "joined",
    "measured",
    "metric",
    "with_spread",
]


def _own() -> dict[str, Metric]:
    every = {each.name: each for part in (norms, spectral, flow) for each in part.METRICS}
    # In the order of tables.
    first = ("mse", "rmse", "nrmse", "relative_l2", "relative_l2_deviation", "relative_h1", "max_error")
    bands = (f"band_{band}" for band, *_ in spectral.BANDS)
    return {name: every[name] for name in dict.fromkeys((*first, *bands, *every))}


METRICS: Mapping[str, Metric] = _own()
"""Those of this program, by name."""

_OTHERS = Registry("kitipde.metrics", "metric", ())


def every_metric() -> dict[str, Metric]:
    """Those of this program and of other packages."""
    return {**METRICS, **{name: _OTHERS.load(name) for name in _OTHERS}}


def metric(name: str) -> Metric:
    """The metric of a name.

    Raises:
        InputError: if there is none.
    """
    known = every_metric()
    if name not in known:
        raise unknown("metric", name, known)
    return known[name]


def applicable(geometry: Geometry, targets: Sequence[str]) -> tuple[Metric, ...]:
    """The metrics that are defined for fields of these names on this geometry."""
    return tuple(each for each in every_metric().values() if each.applies(geometry, targets))


def measured(compared: Compared, metrics: Sequence[Metric]) -> Quantities:
    """What some metrics are computed from, of each sample, frame and field; and the correlation."""
    result: Quantities = {}
    for function in dict.fromkeys((*(each.measure for each in metrics), correlation)):
        result |= function(compared)
    return result
