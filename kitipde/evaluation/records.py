"""What an evaluation found, labelled: xarray data with named dimensions, units and definitions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from datagen.geometry import Geometry, Resolution, parse_resolution, resolution_text
from kitipde.errors import InputError, unknown
from kitipde.evaluation.metrics import (
    Metric,
    applicable,
    correlation_time,
    grouped,
    metric,
    with_spread,
)
from kitipde.evaluation.metrics.compared import Quantities
from kitipde.evaluation.metrics.spectral import Spectra
from kitipde.evaluation.test_data import Subject
from kitipde.problem.windows import Windows
from kitipde.runs import Run

__all__ = ["Evaluation", "Examples", "Measured", "merge_resolutions", "to_metrics"]


@dataclass(frozen=True)
class Measured:
    """Errors at one resolution.

    Attributes:
        resolution: points along each axis.
        quantities: of each seed, what metrics are computed from.
        spectra: of each seed; none where a Fourier transform is not meant for the geometry.
        lost_power: share of the truth's power that the grid cannot hold; NaN where that is not known.
    """

    resolution: Resolution
    quantities: tuple[Quantities, ...]
    spectra: tuple[Spectra, ...]
    lost_power: float


@dataclass(frozen=True)
class Examples:
    """Fields to look at: of the first test sample, which is not selected, then of the one with the largest error.

    Attributes:
        seed: whose predictions they are.
        samples: indices in the dataset.
        inputs: given frames.
        truth: true fields.
        prediction: predicted fields.
        geometry: where they live.
        times: of the frames; None without time.
        given: names of the inputs.
        fields: names of the targets.
        units: of the targets.
    """

    seed: int
    samples: tuple[int, ...]
    inputs: Float[np.ndarray, "samples input_frames inputs *space"]
    truth: Float[np.ndarray, "samples frames fields *space"]
    prediction: Float[np.ndarray, "samples frames fields *space"]
    geometry: Geometry
    times: np.ndarray | None
    given: tuple[str, ...]
    fields: tuple[str, ...]
    units: tuple[str, ...]


@dataclass(frozen=True)
class Evaluation:
    """A run's errors on some samples.

    Attributes:
        run: the run.
        label: its name in tables and legends.
        subject: what it was evaluated on.
        metrics: per seed, resolution, sample, frame and field (see `to_metrics`).
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
    def fields(self) -> tuple[str, ...]:
        """The targets."""
        return tuple(map(str, self.metrics["field"].values))

    @property
    def resolutions(self) -> tuple[Resolution, ...]:
        """Points along each axis, the coarsest first."""
        return tuple(self.resolved(parse_resolution(str(each))) for each in self.metrics["resolution"].values)

    def resolved(self, resolution: Sequence[int]) -> Resolution:
        """Points along each axis."""
        axes = len(self.subject.geometry.shape)
        return tuple(resolution) * axes if len(resolution) == 1 else tuple(resolution)

    def at(self, resolution: Sequence[int]) -> xr.Dataset:
        """What was found at one resolution."""
        return self.metrics.sel(resolution=resolution_text(self.resolved(resolution)))

    @property
    def defined(self) -> tuple[Metric, ...]:
        """The metrics that its geometry and fields have."""
        return applicable(self.subject.geometry, self.fields)

    def errors(
        self, name: str, resolution: Sequence[int], field: str | None = None
    ) -> Float[np.ndarray, "seeds samples"]:
        """Errors of whole rollouts, over all fields or of one; NaN where they are undefined.

        Raises:
            InputError: if there is no such metric here, no such field, or the metric is not one of single fields.
        """
        chosen, found = metric(name), self.at(resolution)
        if f"overall_{name}" not in found:
            here = [each.name for each in self.defined]
            raise InputError(f"{self.run.path} has no {name} (on its geometry, for its fields: {', '.join(here)})")
        if field is not None and field not in self.fields:
            raise unknown(f"field of {self.run.path}", field, self.fields)
        if field is not None and not chosen.by_field:
            raise InputError(f"{name} is of {', '.join(chosen.fields)} together, it is no error of {field} alone")
        values = found[f"overall_{name}"] if field is None else found[f"rollout_{name}"].sel(field=field)
        errors = values.transpose("seed", "sample").values
        return errors if chosen.finish is None else chosen.finish(errors)


def to_metrics(
    measured: Sequence[Measured],
    seeds: Sequence[int],
    windows: Windows,
    run: Run,
    subject: Subject,
    metrics: Sequence[Metric],
) -> xr.Dataset:
    """Everything measured as one labelled dataset.

    Dimensions: seed, resolution, sample, time, field, wavenumber (shells |m|, NaN beyond a coarse grid's). For each
    metric the variable of its name is per frame, `rollout_…` over whole rollouts, both of each field; `overall_…` is
    the mean over fields, in which the components of a vector share one norm. `spectrum_…` are means over samples;
    `lost_power` is the share of the truth's power that a resolution cannot hold.
    """
    problem = run.facts.problem
    dims = ("seed", "resolution", "sample", "time")
    variables: dict[str, xr.Variable] = {}
    found = [[with_spread(each) for each in one.quantities] for one in measured]
    by_group = [[grouped(each, problem.groups) for each in one] for one in found]
    for entry in metrics:
        units = entry.units_of(_common(windows.units))
        words = {"definition": entry.definition, "units": units}
        own = ("field",) if entry.by_field else ()
        pick = slice(None) if entry.by_field else 0

        def of(values: Callable[[Quantities], torch.Tensor], quantities: list[list[Quantities]]) -> np.ndarray:
            return np.stack([np.stack([values(each).cpu().numpy() for each in one]) for one in quantities], axis=1)

        if entry.frame is not None:
            frames = of(entry.frame, found)[..., pick]
            variables[entry.name] = xr.Variable((*dims, *own), frames, {"long_name": entry.title, **words})
        title = f"{entry.title} of the rollout"
        rollouts = of(entry.rollout, found)[..., pick]
        variables[f"rollout_{entry.name}"] = xr.Variable((*dims[:3], *own), rollouts, {"long_name": title, **words})
        overall = of(entry.rollout, by_group).mean(-1)
        title += ", mean over fields" if len(problem.targets) > 1 and entry.by_field else ""
        variables[f"overall_{entry.name}"] = xr.Variable(dims[:3], overall, {"long_name": title, **words})
    every = np.stack([np.stack([each["correlation"].numpy() for each in one.quantities]) for one in measured], axis=1)
    words = {"long_name": "correlation of prediction and truth", "units": "1"}
    variables["correlation"] = xr.Variable((*dims, "field"), every, words)
    times = np.arange(1.0, every.shape[3] + 1) if windows.times is None else np.asarray(windows.times, float)
    if windows.times is not None:
        instants = torch.from_numpy(times)
        by_field = [[each.unbind(-1) for each in torch.from_numpy(of_seed)] for of_seed in every]
        held = np.stack(
            [
                [
                    np.stack([correlation_time(field, instants).numpy() for field in fields], axis=-1)
                    for fields in of_seed
                ]
                for of_seed in by_field
            ]
        )
        words = {"long_name": "time until the correlation falls below 0.8", "units": "time"}
        variables["correlation_time"] = xr.Variable((*dims[:3], "field"), held, words)
    variables.update(_spectra(measured))
    lost = np.array([one.lost_power for one in measured])
    words = {"long_name": "share of the truth's power that the grid cannot hold", "units": "1"}
    variables["lost_power"] = xr.Variable("resolution", lost, words)
    coordinates = {
        "seed": ("seed", list(seeds)),
        "resolution": ("resolution", [resolution_text(one.resolution) for one in measured], {"long_name": "points"}),
        "sample": ("sample", list(subject.samples), {"long_name": "index in the dataset"}),
        "time": ("time", times),
        "field": ("field", list(problem.targets)),
        "field_units": ("field", list(windows.units)),
    }
    if "spectrum_error" in variables:
        shells = np.arange(variables["spectrum_error"].shape[-1])
        coordinates["wavenumber"] = ("wavenumber", shells, {"long_name": "shell |m|"})
    return xr.Dataset(variables, coords=coordinates)


def _common(units: Sequence[str]) -> str:
    """The units of all fields, if they have the same."""
    return units[0] if len(set(units)) == 1 else "units of the field"


def merge_resolutions(old: xr.Dataset, new: xr.Dataset, axes: int) -> xr.Dataset:
    """Both datasets' resolutions, ascending; shells that a grid does not have are NaN."""
    both = xr.concat([old, new], dim="resolution", data_vars="minimal", join="outer", combine_attrs="override")
    # The width of texts in the file that the old ones were read from would cut longer ones off.
    both = both.drop_encoding()

    def points(text: str) -> tuple[int, ...]:
        numbers = parse_resolution(text)
        numbers = numbers * axes if len(numbers) == 1 else numbers
        return (int(np.prod(numbers)), *numbers)

    return both.sel(resolution=sorted(map(str, both["resolution"].values), key=points))


def _spectra(measured: Sequence[Measured]) -> dict[str, xr.Variable]:
    if not all(one.spectra for one in measured):
        return {}
    shells = max(one.spectra[0].target.shape[-1] for one in measured)

    def padded(values: torch.Tensor) -> np.ndarray:
        wide = np.full((*values.shape[:-1], shells), np.nan)
        wide[..., : values.shape[-1]] = values.numpy()
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
        dims = ("seed", "resolution", "time", "field", "wavenumber")
        result[f"spectrum_{field.name}"] = xr.Variable(dims, values, attributes)
    return result
