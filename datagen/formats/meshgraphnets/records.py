"""Importing the datasets of MeshGraphNets: `meta.json` and TFRecord files of trajectories on a mesh.

`meta.json` gives `field_names`, `trajectory_length`, `dt` and for each field its type, shape and dtype. The values of a
record are raw little-endian arrays: `static` ones of one frame, `dynamic` ones of every frame, `dynamic_varlen` ones of
frames with lengths of their own, in an int32 array `length_<name>`. A −1 in a shape is whatever the bytes give.

References:
    T. Pfaff, M. Fortunato, A. Sanchez-Gonzalez, P. Battaglia, "Learning Mesh-Based Simulation with Graph Networks",
    ICLR 2021.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datagen.checks import at_least, positive
from datagen.errors import InputError, unknown
from datagen.formats.meshgraphnets.meta import Field, read_meta
from datagen.formats.meshgraphnets.momentum import Decision, decide
from datagen.formats.meshgraphnets.tfrecord import Record, RecordFile
from datagen.formats.precision import is_wide
from datagen.formats.survey import surveyed
from datagen.geometry import Mesh
from datagen.store.ingest import ingest, ingested
from datagen.store.layout import Coordinate, Layout, Variable
from datagen.store.parts import forget_parts
from datagen.store.ugrid import mesh_values, node_field

__all__ = ["MeshGraphNets", "Selection", "import_meshgraphnets"]

_SPLITS = ("train", "valid", "test")
_MESH_FIELDS = ("cells", "mesh_pos", "node_type")
_PUBLISHED_STEP = 0.008
"""Seconds between frames of the airfoil set as its paper's tasks count them; its meta.json says 0.0002."""

_UNITS = {"velocity": "m s-1", "momentum": "kg m-2 s-1", "density": "kg m-3", "pressure": "Pa", "world_pos": "m"}
_PIECE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Selection:
    """What of the published set is taken over.

    Attributes:
        splits: of "train", "valid", "test", in this order; those that have a file if empty.
        stride: take every stride-th frame.
        start, stop: first frame, and the one after the last (−1: all).
        samples: most of each split; 0 for all.
        velocity: "auto", "velocity" or "momentum": what the field called velocity holds.
        step: seconds between raw frames; 0 for what meta.json says.
        check: whether every payload is compared with its CRC, for which all of it is read.
    """

    splits: tuple[str, ...] = ()
    stride: int = 24
    start: int = 0
    stop: int = -1
    samples: int = 0
    velocity: str = "auto"
    step: float = 0.0
    check: bool = True

    def __post_init__(self) -> None:
        for split in self.splits:
            if split not in _SPLITS:
                raise unknown("split", split, _SPLITS)
        at_least("stride", self.stride, 1)
        at_least("first frame", self.start, 0)
        at_least("samples", self.samples, 0)
        if self.velocity not in ("auto", "velocity", "momentum"):
            raise unknown("kind of velocity", self.velocity, ("auto", "velocity", "momentum"))
        if self.step:
            positive("dt", self.step)


def import_meshgraphnets(
    folder: Path,
    out: Path,
    selection: Selection,
    progress: Callable[[int, int], None] | None = None,
    remark: Callable[[str], None] | None = None,
    overwrite: bool = False,
) -> bool:
    """Turn a published folder into a dataset, its splits one after the other; False if it is there already.

    Args:
        folder: with `meta.json` and `train.tfrecord`, `valid.tfrecord`, `test.tfrecord` or some of them.
        out: the dataset to write.
        selection: what of it.
        progress: called with (samples done, samples).
        remark: told what was decided.
        overwrite: begin anew, whatever is there; a file of that name stays until the new one is whole.

    Raises:
        InputError: files missing, damaged, cut off or not of this kind; several meshes; a choice that the data cannot
            decide; a file of that name with something else in it.
    """
    with ExitStack() as stack:
        source = MeshGraphNets(folder, selection, stack)
        decision = source.decide_velocity()
        for line in (decision.text, source.step_text()):
            if line and remark:
                remark(line)

        def read(part: slice) -> dict[str, np.ndarray]:
            return source.read(part, decision)

        layout = source.layout(decision)
        if overwrite:
            forget_parts(out, layout.config)
        elif ingested(out, layout):
            return False
        layout = surveyed(layout, len(source), read, remark)
        ingest(out, layout, len(source), read, progress, _PIECE_BYTES, True)
        return True


class MeshGraphNets:
    """An open folder: its trajectories in a row, whatever file they are in.

    Attributes:
        mesh: that of all trajectories.
        frames: which raw frames are taken.

    Raises:
        InputError: as `import_meshgraphnets`.
    """

    def __init__(self, folder: Path, selection: Selection, stack: ExitStack) -> None:
        self.folder, self.selection = folder, selection
        self.meta = read_meta(folder)
        self.fields = {field.name: field for field in self.meta.fields}
        for name in _MESH_FIELDS[:2]:
            if name not in self.fields:
                raise InputError(f"{folder / 'meta.json'} has no field '{name}', without which there is no mesh")
        present = [split for split in _SPLITS if (folder / f"{split}.tfrecord").exists()]
        chosen = [split for split in _SPLITS if split in selection.splits] or present
        if not chosen:
            raise InputError(f"{folder} has none of {', '.join(f'{split}.tfrecord' for split in _SPLITS)}")
        self._rows: list[tuple[int, RecordFile, Record]] = []
        for split in chosen:
            file = stack.enter_context(RecordFile(folder / f"{split}.tfrecord"))
            records = file.records[: selection.samples or None]
            self._rows += [(_SPLITS.index(split), file, record) for record in records]
        first = self._checked(0)
        self.mesh = self._mesh(first)
        dynamic = [self._array(first, name, 0) for name in self._dynamic()]
        if not dynamic:
            raise InputError(f"{folder / 'meta.json'} has no field that changes in time")
        self.frames = self._frames(len(dynamic[0]))
        if not np.isfinite(self.step * float(self.frames[-1])):
            raise InputError(f"{folder / 'meta.json'}: dt {self.step:g} is too large for {self.frames[-1]} frames")

    def __len__(self) -> int:
        return len(self._rows)

    def decide_velocity(self) -> Decision:
        """Whether `velocity` is a velocity or a momentum, by the flow itself unless the user says it."""
        if any(name not in self.fields for name in ("velocity", "density", "pressure", "node_type")):
            return Decision(False, "")
        if self.selection.velocity != "auto":
            said = self.selection.velocity
            return Decision(said == "momentum", f"the field called velocity is taken as {said}, as was said")
        rows = np.unique(np.linspace(0, len(self) - 1, min(16, len(self))).round().astype(int))
        states = (self._first_and_last(int(row)) for row in rows)
        return decide(states, self.mesh.node_type)

    def step_text(self) -> str:
        """What meta.json says of the time between frames and what is in conflict with it; empty if nothing is."""
        stated, used = self.meta.step, self.step
        if self.selection.step:
            return f"dt = {used:g} s between raw frames, as was said" + (
                f" (meta.json: {stated:g} s)" if stated and stated != used else ""
            )
        if not stated:
            return "meta.json tells no dt: the times of the file are numbers of raw frames (--dt gives seconds)"
        if np.isclose(stated, 0.0002) and "density" in self.fields:
            return (
                f"dt = {stated:g} s between raw frames by meta.json; the paper's tasks count {_PUBLISHED_STEP:g} s "
                f"(--dt {_PUBLISHED_STEP:g})"
            )
        return ""

    @property
    def step(self) -> float:
        return self.selection.step or self.meta.step or 1.0

    def layout(self, decision: Decision) -> Layout:
        """What the dataset holds: the mesh, the fields by component, each trajectory's split and record."""
        timed = bool(self.selection.step or self.meta.step)
        times = Coordinate("time", self.step * self.frames, "s" if timed else "1", "time since the first frame", "T")
        variables: list[Variable] = []
        for name in self._dynamic():
            for part in self._parts(name):
                vector = name if part != name else ""
                variables.append(node_field(part, _UNITS.get(name, "1"), part.replace("_", " "), vector))
        splits = {"flag_values": np.arange(3, dtype=np.int8), "flag_meanings": "train valid test"}
        variables.append(Variable("split", ("sample",), "1", "published split", "int8", splits))
        variables.append(Variable("record", ("sample",), "1", "number of the record in its split", "int32"))
        config = {
            "equation": self.name,
            "imported": self.folder.resolve().name,
            "bytes": sorted({str(file.path.name): file.path.stat().st_size for _, file, _ in self._rows}.items()),
            "samples": len(self),
            "stride": self.selection.stride,
            "frames": [int(self.frames[0]), int(self.frames[-1])],
            "step": self.step,
            "momentum_divided_by_density": decision.momentum,
        }
        return Layout(
            equation=self.name,
            config=json.dumps(config, sort_keys=True),
            geometry=self.mesh,
            coordinates=(times,),
            variables=tuple(variables),
            attributes={
                "title": f"imported from {self.folder.resolve().name}",
                "raw_frames": f"{self.frames[0]} to {self.frames[-1]} by {self.selection.stride}",
                "raw_frame_interval": self.step,
                **({"velocity_source": decision.text} if decision.text else {}),
            },
        )

    @property
    def name(self) -> str:
        """Of the equation: compressible flow round an airfoil, or whatever simulator the set names."""
        airfoil = {"velocity", "density", "pressure"} <= set(self.fields)
        return "airfoil" if airfoil else str(self.meta.simulator or "meshgraphnets")

    def read(self, part: slice, decision: Decision) -> dict[str, np.ndarray]:
        """The per-sample variables of some samples, after their records were checked.

        Raises:
            InputError: a record that is damaged or has another mesh or another number of frames.
        """
        rows = range(*part.indices(len(self)))
        read: dict[str, np.ndarray] = {
            "split": np.array([self._rows[row][0] for row in rows], np.int8),
            "record": np.array([self._rows[row][2].number for row in rows], np.int32),
        }
        names = {part: name for name in self._dynamic() for part in self._parts(name)}
        shape = (len(rows), len(self.frames), len(self.mesh.x))
        read |= {part: np.empty(shape, self._numbers(name)) for part, name in names.items()}
        for place, row in enumerate(rows):
            file, values = self._rows[row][1], self._checked(row)
            self._same_mesh(values, row)
            for name in self._dynamic():
                chosen = self._chosen(values, name, row)
                divided = name == "velocity" and decision.momentum
                for index, part_name in enumerate(self._parts(name)):
                    target = read[part_name][place]
                    if divided:
                        np.divide(chosen[..., index], self._chosen(values, "density", row)[..., 0], out=target)
                    else:
                        target[...] = chosen[..., index]
            file.forget()
        return read

    def _numbers(self, name: str) -> np.dtype:
        """In which a field is read: float64 if its own are too many for float32."""
        return np.dtype(np.float64 if is_wide(np.dtype(self.fields[name].dtype)) else np.float32)

    def _chosen(self, values: Mapping[str, memoryview], name: str, row: int) -> np.ndarray:
        array = self._array(values, name, row)
        if len(array) <= self.frames[-1]:
            raise InputError(f"{self._where(row)}: {name} has {len(array)} frames (expected: {self.frames[-1] + 1})")
        return array[self.frames[0] : self.frames[-1] + 1 : self.selection.stride]

    def _first_and_last(self, row: int) -> Mapping[str, np.ndarray]:
        values = self._checked(row)
        arrays = {name: self._array(values, name, row) for name in ("velocity", "density", "pressure")}
        return {name: np.stack([array[0], array[-1]]).astype(np.float64) for name, array in arrays.items()}

    def _dynamic(self) -> list[str]:
        found = [field.name for field in self.fields.values() if field.kind != "static"]
        return [name for name in found if np.issubdtype(np.dtype(self.fields[name].dtype), np.floating)]

    def _parts(self, name: str) -> list[str]:
        components = self.fields[name].shape[-1]
        if components == 1:
            return [name]
        if 2 <= components <= 3:
            return [f"{name}_{axis}" for axis in "xyz"[:components]]
        return [f"{name}_{index}" for index in range(components)]

    def _checked(self, row: int) -> Mapping[str, memoryview]:
        _, file, record = self._rows[row]
        if self.selection.check:
            file.check(record)
        return file.features(record)

    def _mesh(self, values: Mapping[str, memoryview]) -> Mesh:
        places = self._array(values, "mesh_pos", 0)[0].astype(np.float64)
        if places.shape[-1] != 2:
            raise InputError(f"{self._where(0)}: mesh_pos has {places.shape[-1]} components (this format keeps 2)")
        cells = self._array(values, "cells", 0)[0].astype(np.int32)
        kinds = np.zeros(len(places), np.int64)
        if "node_type" in self.fields:
            kinds = self._array(values, "node_type", 0)[0, :, 0]
        if len(kinds) != len(places) or np.abs(kinds).max() > 127:
            raise InputError(f"{self._where(0)}: node_type does not fit the {len(places)} nodes")
        return Mesh(places[:, 0], places[:, 1], cells, kinds.astype(np.int8))

    def _same_mesh(self, values: Mapping[str, memoryview], row: int) -> None:
        mesh = self._mesh(values)
        first, other = mesh_values(self.mesh), mesh_values(mesh)
        if not all(np.array_equal(first[name], values) for name, values in other.items()):
            raise InputError(
                f"{self._where(row)} has another mesh than the first ({len(mesh.x)} nodes, {len(self.mesh.x)} there): "
                "a dataset keeps one mesh for all samples"
            )

    def _array(self, values: Mapping[str, memoryview], name: str, row: int) -> np.ndarray:
        """[frames, rows, components] as a view of the file."""
        field = self.fields[name]
        if name not in values:
            raise InputError(f"{self._where(row)} has no field '{name}'")
        try:
            flat = np.frombuffer(values[name], np.dtype(field.dtype).newbyteorder("<"))
            if field.kind != "dynamic_varlen":
                return flat.reshape(field.shape)
            return self._equal_lengths(flat, values, field, row)
        except InputError:
            raise
        except ValueError as error:
            raise InputError(
                f"{self._where(row)}: {name} has {len(values[name])} bytes, which do not fit "
                f"{field.dtype} {list(field.shape)} of meta.json"
            ) from error

    def _equal_lengths(self, flat: np.ndarray, values: Mapping[str, memoryview], field: Field, row: int) -> np.ndarray:
        if f"length_{field.name}" not in values:
            raise InputError(f"{self._where(row)} has no 'length_{field.name}' for the lengths of '{field.name}'")
        lengths = np.frombuffer(values[f"length_{field.name}"], np.dtype("<i4"))
        if not len(lengths) or lengths.min() < 1:
            raise InputError(f"{self._where(row)}: {field.name} has frames without rows")
        if lengths.min() != lengths.max():
            raise InputError(
                f"{self._where(row)}: the rows of {field.name} change from {lengths.min()} to {lengths.max()} between "
                "frames: a dataset keeps one mesh for all frames"
            )
        return flat.reshape(len(lengths), int(lengths[0]), field.shape[-1])

    def _frames(self, stored: int) -> np.ndarray:
        stop = stored if self.selection.stop < 0 else self.selection.stop
        if not self.selection.start < stop <= stored:
            raise InputError(f"frames {self.selection.start}:{stop} are not there (allowed: 0:{stored})")
        return np.arange(self.selection.start, stop, self.selection.stride)

    def _where(self, row: int) -> str:
        _, file, record = self._rows[row]
        return f"{file.path}: record {record.number}"
