"""Evaluations beside their run: written whole, read again only while they are still true.

RUN/evaluation/test/metrics.nc              errors on the run's own test split
RUN/evaluation/test/examples.nc             fields of a typical and of the worst sample
RUN/evaluation/FILE-IDENTITY/…              the same on another dataset
RUN/evaluation/…-published/…                the same with each grid's own coordinates (`kitipde.models.coordinates`)
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr

import kitipde
from datagen.geometry import Grid, Method
from kitipde.evaluation.coordinates import coordinates_of
from kitipde.evaluation.metrics import applicable
from kitipde.evaluation.records import Evaluation, Examples
from kitipde.evaluation.test_data import Subject
from kitipde.files import write_atomically
from kitipde.runs import Replica, Run

__all__ = [
    "evaluation_folder",
    "fingerprint",
    "read_evaluation",
    "read_netcdf",
    "stamps",
    "storing",
    "write_evaluation",
    "write_netcdf",
]

# Raised when a stored number would come out differently: older files are then computed again.
_VERSION = 3


def evaluation_folder(run: Run, subject: Subject) -> Path:
    """Where the evaluation of a run on some data lies."""
    suffix = "-published" if coordinates_of(run) == "published" else ""
    return run.path / "evaluation" / f"{subject.folder}{suffix}"


def fingerprint(run: Run, subject: Subject, replicas: Sequence[Replica]) -> str:
    """Changes when any stored number would: weights, data, samples, frames, coordinates, which metrics there are."""
    digest = hashlib.sha256()
    data, metrics = run.config.data, applicable(subject.geometry, run.facts.problem.targets)
    names = tuple(each.name for each in metrics)
    facts = (_VERSION, subject.identity, subject.samples, data.model_dump_json(exclude={"path"}), names)
    digest.update(repr((*facts, coordinates_of(run))).encode())
    for replica in replicas:
        digest.update(f"{replica.seed}:".encode())
        digest.update(hashlib.sha256(replica.best_path.read_bytes()).digest())
    return digest.hexdigest()


@contextmanager
def storing(run: Run, remark: Callable[[str], None]) -> Iterator[None]:
    """What has taken minutes to compute is not lost with a folder that cannot be written to: that is remarked."""
    try:
        yield
    except OSError as error:
        remark(f"{run.path}: the evaluation is not stored and will be computed again ({error.strerror or error})")


def write_evaluation(evaluation: Evaluation, stamp: str) -> None:
    """Store an evaluation; a crash leaves the old one or the new one."""
    folder = evaluation_folder(evaluation.run, evaluation.subject)
    folder.mkdir(parents=True, exist_ok=True)
    attributes = stamps(evaluation.run, evaluation.subject, stamp)
    write_netcdf(evaluation.metrics.assign_attrs(attributes), folder / "metrics.nc")
    write_netcdf(_to_fields(evaluation.examples).assign_attrs(attributes), folder / "examples.nc")


def stamps(run: Run, subject: Subject, stamp: str) -> dict[str, str]:
    """What a stored file says of where it comes from; `stamp` is the fingerprint."""
    return {
        "run": run.name,
        "dataset": str(subject.path),
        "dataset_identity": subject.identity,
        "equation": subject.equation,
        "evaluated_on": subject.description,
        "coordinates": coordinates_of(run) or "",
        "kitipde_version": kitipde.__version__,
        "fingerprint": stamp,
    }


def read_evaluation(run: Run, label: str, subject: Subject, stamp: str) -> Evaluation | None:
    """A stored evaluation, or None if there is none that is still true.

    Args:
        run: the run.
        label: its name in tables and legends.
        subject: what it is evaluated on.
        stamp: the fingerprint that the stored one must have.
    """
    folder = evaluation_folder(run, subject)
    metrics, fields = (read_netcdf(folder / name, stamp) for name in ("metrics.nc", "examples.nc"))
    if metrics is None or fields is None:
        return None
    return Evaluation(run, label, subject, metrics, _to_examples(fields, subject, run.config.data.downsample))


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Write a file whole or not at all."""
    with tempfile.TemporaryDirectory() as folder:
        # The h5netcdf engine is the one this program depends on.
        file = Path(folder) / path.name
        dataset.to_netcdf(file, engine="h5netcdf")
        write_atomically(path, file.read_bytes())


def read_netcdf(path: Path, stamp: str) -> xr.Dataset | None:
    """A whole file in memory; None if it is missing, damaged or of other weights or data."""
    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return dataset.load() if dataset.attrs.get("fingerprint") == stamp else None
    except (OSError, ValueError, KeyError, RuntimeError):
        return None


def _to_fields(examples: Examples) -> xr.Dataset:
    space = examples.geometry.names
    dataset = xr.Dataset(
        {
            "inputs": (("sample", "input_frame", "given", *space), examples.inputs),
            "truth": (("sample", "frame", "field", *space), examples.truth),
            "prediction": (("sample", "frame", "field", *space), examples.prediction),
        },
        coords={
            "sample": list(examples.samples),
            "given": list(examples.given),
            "field": list(examples.fields),
            "field_units": ("field", list(examples.units)),
        },
    )
    if isinstance(examples.geometry, Grid):
        dataset = dataset.assign_coords({axis.name: axis.coordinates for axis in examples.geometry.axes})
    if examples.times is not None:
        dataset = dataset.assign_coords(time=("frame", np.asarray(examples.times, float)))
    return dataset.assign(seed=examples.seed)


def _to_examples(fields: xr.Dataset, subject: Subject, method: Method) -> Examples:
    geometry = subject.geometry.coarsened(fields["truth"].shape[3:], method)
    return Examples(
        seed=int(fields["seed"]),
        samples=tuple(fields["sample"].values.tolist()),
        inputs=fields["inputs"].values,
        truth=fields["truth"].values,
        prediction=fields["prediction"].values,
        geometry=geometry,
        times=fields["time"].values if "time" in fields.coords else None,
        given=tuple(map(str, fields["given"].values)),
        fields=tuple(map(str, fields["field"].values)),
        units=tuple(map(str, fields["field_units"].values)),
    )
