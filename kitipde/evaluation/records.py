"""What an evaluation found, labelled: xarray data with named dimensions, units and definitions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from kitipde.errors import unknown
from kitipde.evaluation.metrics import FrameErrors, SampleErrors, Spectra, correlation_time, over_rollout
from kitipde.evaluation.test_data import Subject
from kitipde.problem.windows import Windows
from kitipde.runs import Run

__all__ = ["METRICS", "Evaluation", "Examples", "Measured", "Metric", "merge_resolutions", "metric", "to_metrics"]


@dataclass(frozen=True)
class Metric:
    """A number that tells how wrong a prediction is.

    Attributes:
        name: of the variable, without the `rollout_` of errors over whole rollouts.
        title: in words, for tables and axes.
        definition: its formula (metrics.py has the symbols).
        has_units: whether it is in the units of the field.
        squared: whether it is in their square.
    """

    name: str
    title: str
    definition: str
    has_units: bool = False
    squared: bool = False

    def units(self, field_units: str) -> str:
        """Its units, given those of the field."""
        if not self.has_units:
            return "1"
        return f"({field_units})^2" if self.squared else field_units


METRICS: tuple[Metric, ...] = (
    Metric("mse", "MSE", "⟨e²⟩", has_units=True, squared=True),
    Metric("rmse", "RMSE", "√⟨e²⟩", has_units=True),
    Metric("nrmse", "normalised RMSE", "RMSE / standard deviation of the truth over all samples, frames and points"),
    Metric("relative_l2", "relative L2", "√(Σ⟨e²⟩ / Σ⟨t²⟩)"),
    Metric(
        "relative_l2_deviation",
        "relative L2 of deviations",
        "√(Σ⟨e²⟩ / Σ⟨(t − μ)²⟩), μ the mean of the training targets",
    ),
    Metric("relative_h1", "relative H1", "√(Σ(1+|k|²)|ê|² / Σ(1+|k|²)|t̂|²)"),
    Metric("max_error", "max error", "max |e|", has_units=True),
    Metric("band_low", "RMSE, modes 0–4", "√Σ|ê|² over |m| ≤ 4", has_units=True),
    Metric("band_middle", "RMSE, modes 5–12", "√Σ|ê|² over 5 ≤ |m| ≤ 12", has_units=True),
    Metric("band_high", "RMSE, modes ≥ 13", "√Σ|ê|² over |m| ≥ 13", has_units=True),
    Metric("mean_drift", "drift of the mean", "⟨p⟩ − ⟨t⟩", has_units=True),
    Metric("power_drift", "drift of the mean square", "⟨p²⟩ / ⟨t²⟩ − 1"),
)


def metric(name: str) -> Metric:
    """The metric of a name.

    Raises:
        InputError: if there is none.
    """
    for candidate in METRICS:
        if candidate.name == name:
            return candidate
    raise unknown("metric", name, [candidate.name for candidate in METRICS])


@dataclass(frozen=True)
class Measured:
    """Errors at one resolution.

    Attributes:
        resolution: points per axis.
        errors: of each seed.
        spectra: of each seed.
        lost_power: share of the truth's power that the grid cannot hold.
    """

    resolution: int
    errors: tuple[FrameErrors, ...]
    spectra: tuple[Spectra, ...]
    lost_power: float


@dataclass(frozen=True)
class Examples:
    """Fields to look at: of the first test sample, which nobody chose, then of the one with the largest error.

    Attributes:
        seed: whose predictions they are.
        samples: indices in the dataset.
        truth: true fields.
        prediction: predicted fields.
        coordinates: of the grid, one array per axis.
        times: of the frames; None without time.
        field: its name.
        units: its units.
    """

    seed: int
    samples: tuple[int, ...]
    truth: Float[np.ndarray, "samples frames *grid"]
    prediction: Float[np.ndarray, "samples frames *grid"]
    coordinates: tuple[np.ndarray, ...]
    times: np.ndarray | None
    field: str
    units: str


@dataclass(frozen=True)
class Evaluation:
    """A run's errors on some samples.

    Attributes:
        run: the run.
        label: its name in tables and legends.
        subject: what it was evaluated on.
        metrics: per seed, resolution, sample, frame and channel (see `to_metrics`).
        examples: fields to look at, at the highest resolution.
    """

    run: Run
    label: str
    subject: Subject
    metrics: xr.Dataset
    examples: Examples

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that were evaluated."""
        return tuple(int(seed) for seed in self.metrics["seed"].values)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Points per axis, ascending."""
        return tuple(int(resolution) for resolution in self.metrics["resolution"].values)

    def errors(self, name: str, resolution: int) -> Float[np.ndarray, "seeds samples"]:
        """Errors of whole rollouts, averaged over channels; NaN where they are undefined."""
        values = self.metrics[f"rollout_{metric(name).name}"].sel(resolution=resolution)
        return values.mean("channel").transpose("seed", "sample").values


def to_metrics(measured: Sequence[Measured], seeds: Sequence[int], windows: Windows, subject: Subject) -> xr.Dataset:
    """Everything measured as one labelled dataset.

    Dimensions: seed, resolution, sample, time, channel, wavenumber (shells |m|, NaN beyond a coarse grid's). Variables
    named as in `METRICS` are per frame, with `rollout_` before the name over whole rollouts; `spectrum_…` are means
    over samples; `lost_power` is the share of the truth's power that a resolution cannot hold.
    """
    dims = ("seed", "resolution", "sample", "time")
    variables: dict[str, xr.Variable] = {}
    for entry in METRICS:
        units = entry.units(windows.units)
        if entry.name != "nrmse":
            frames = _stack(measured, lambda errors, name=entry.name: getattr(errors, name))
            attributes = {"long_name": entry.title, "definition": entry.definition, "units": units}
            variables[entry.name] = xr.Variable((*dims, "channel"), frames[..., None], attributes)
        rollouts = _stack(measured, lambda errors, name=entry.name: getattr(over_rollout(errors), name))
        attributes = {"long_name": f"{entry.title} of the rollout", "definition": entry.definition, "units": units}
        variables[f"rollout_{entry.name}"] = xr.Variable((*dims[:3], "channel"), rollouts[..., None], attributes)
    correlation = _stack(measured, lambda errors: errors.correlation)
    variables["correlation"] = xr.Variable(
        (*dims, "channel"), correlation[..., None], {"long_name": "correlation of prediction and truth", "units": "1"}
    )
    times = np.arange(1.0, correlation.shape[3] + 1) if windows.times is None else np.asarray(windows.times, float)
    if windows.times is not None:
        held = _stack(measured, lambda errors: correlation_time(errors.correlation, torch.from_numpy(times)))
        attributes = {"long_name": "time until the correlation falls below 0.8", "units": "time"}
        variables["correlation_time"] = xr.Variable((*dims[:3], "channel"), held[..., None], attributes)
    variables.update(_spectra(measured))
    lost = np.array([one.lost_power for one in measured])
    variables["lost_power"] = xr.Variable(
        "resolution", lost, {"long_name": "share of the truth's power that the grid cannot hold", "units": "1"}
    )
    coordinates = {
        "seed": ("seed", list(seeds)),
        "resolution": ("resolution", [one.resolution for one in measured], {"long_name": "points per axis"}),
        "sample": ("sample", list(subject.samples), {"long_name": "index in the dataset"}),
        "time": ("time", times),
        "channel": ("channel", [windows.field]),
        "wavenumber": ("wavenumber", np.arange(variables["spectrum_error"].shape[-1]), {"long_name": "shell |m|"}),
    }
    return xr.Dataset(variables, coords=coordinates)


def merge_resolutions(old: xr.Dataset, new: xr.Dataset) -> xr.Dataset:
    """Both datasets' resolutions, ascending; shells that a grid does not have are NaN."""
    return xr.concat([old, new], dim="resolution", data_vars="minimal", join="outer", combine_attrs="override").sortby(
        "resolution"
    )


def _stack(measured: Sequence[Measured], values: Callable[[FrameErrors], torch.Tensor]) -> np.ndarray:
    """[seed, resolution, …] of a function of the errors."""
    by_resolution = [np.stack([values(errors).numpy() for errors in one.errors]) for one in measured]
    return np.stack(by_resolution, axis=1)


def _spectra(measured: Sequence[Measured]) -> dict[str, xr.Variable]:
    shells = max(one.spectra[0].target.shape[1] for one in measured)

    def padded(values: torch.Tensor) -> np.ndarray:
        wide = np.full((values.shape[0], shells), np.nan)
        wide[:, : values.shape[1]] = values.numpy()
        return wide

    result = {}
    for field in fields(Spectra):
        if field.name == "samples":
            continue
        values = np.stack(
            [
                np.stack([padded(getattr(spectra, field.name)) / spectra.samples for spectra in one.spectra])
                for one in measured
            ],
            axis=1,
        )
        attributes = {"long_name": f"mean power of the {field.name} in each shell |m|", "units": "field units squared"}
        result[f"spectrum_{field.name}"] = xr.Variable(("seed", "resolution", "time", "wavenumber"), values, attributes)
    return result


assert {entry.name for entry in METRICS} == {field.name for field in fields(SampleErrors)}
