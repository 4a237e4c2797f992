"""What the Tab key offers in a shell; the heavy imports are made when it is pressed."""

from collections.abc import Callable, Iterable

__all__ = ["complete_configuration", "complete_from", "complete_metric"]


def complete_from(names: Iterable[str]) -> Callable[[str], list[str]]:
    """A completion that offers the names that begin with what has been typed."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def complete_configuration(incomplete: str) -> list[str]:
    """Shipped configurations; the shell adds files where none begins so."""
    from kitipde.config.load import shipped_configs

    return complete_from(shipped_configs())(incomplete)


def complete_metric(incomplete: str) -> list[str]:
    """Errors on grids and on meshes."""
    from kitipde.evaluation import MESH_METRICS, METRICS

    return complete_from([*(metric.name for metric in METRICS), *MESH_METRICS])(incomplete)
