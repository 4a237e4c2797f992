"""What the Tab key offers in a shell; the heavy imports are made when it is pressed."""

from collections.abc import Callable, Iterable

__all__ = ["complete_configuration", "complete_from", "complete_metric"]

_METRICS = (
    *(
        "relative_l2",
        "relative_l2_deviation",
        "relative_h1",
        "mse",
        "rmse",
        "nrmse",
        "max_error",
        "band_low",
        "band_middle",
        "band_high",
    ),
    *("mean_drift", "power_drift", "momentum_rmse", "lift_rmse", "drag_rmse"),
)


def complete_from(names: Iterable[str]) -> Callable[[str], list[str]]:
    """A completion that offers the names that begin with what has been typed."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def complete_configuration(incomplete: str) -> list[str]:
    """Shipped configurations; the shell adds files where none begins so."""
    from kitipde.config.load import shipped_configs

    return complete_from(shipped_configs())(incomplete)


def complete_metric(incomplete: str) -> list[str]:
    """The usual errors on grids and on meshes; the lists of all would bring torch in, for which nobody waits."""
    return complete_from(_METRICS)(incomplete)
