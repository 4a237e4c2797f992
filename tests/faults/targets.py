"""What is fuzzed: files that come from strangers, each with the test of whether the outcome is right."""

import hashlib
import io
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import torch

from datagen.formats.mat import MatDescription, import_mat
from datagen.formats.meshgraphnets.records import Selection, import_meshgraphnets
from datagen.store import open_dataset
from datagen.store.verify import verify
from kitipde.config import RunConfig
from kitipde.config.load import read_config, resolve_config, shipped_configs, write_config
from kitipde.config.text import parse_yaml
from kitipde.runs import open_run
from kitipde.training.checkpoint import intact_checkpoints, read_checkpoint
from tests.faults.fuzzing import command, one_line, spoilt

# --- settings

WILD_YAML = (
    "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nmodel: *c\n",
    "!!python/object/apply:os.system ['true']",
    "training: !!binary aGVsbG8=\n",
    "training: {epochs: " + "9" * 6000 + "}\n",
    "training: " + "[" * 3000 + "]" * 3000,
    "training: {epochs: .nan}\n",
    "optimizer: {learning_rate: .inf}\n",
    "training: {epochs: 3}\ntraining: {epochs: 4}\n",
    "training: {epochs: 3, epochs: 4}\n",
    "? [1, 2]\n: 3\n",
    "1: 2\n",
    "residual: {layers: [0, 0, -1]}\n",
    'data: {path: "\\0"}\n',
    "training: 2001-99-99\n",
    "<<: {training: {epochs: 2}}\n",
    "--- 1\n--- 2\n",
    "\ufeffmodel: {}\n",
)


def yaml_bytes(chance: random.Random, folder: Path) -> None:
    """A file of settings is one, or one line; what was read is what is written."""
    path = folder / "wild.yaml"
    shipped = [each.read_bytes() for each in shipped_configs().values()]
    sources = [*shipped, write_config(RunConfig()).encode(), *(text.encode() for text in WILD_YAML)]
    content = chance.choice(sources)
    path.write_bytes(content if chance.random() < 0.1 else spoilt(chance, content))

    def read() -> None:
        config = resolve_config(read_config(str(path)))
        assert resolve_config(parse_yaml(write_config(config))) == config

    one_line(read)


# --- datasets


def _truth(path: Path) -> dict[str, Any]:
    with open_dataset(path) as data:
        values = {name: data.variable(name)[()].tobytes() for name in (*data.fields, *data.parameters)}
        return {**values, "attributes": str(dict(data.attributes)), "grid": data.grid}


def dataset_bytes(chance: random.Random, folder: Path, base: Path) -> None:
    """Damage is told, or nothing that can be read has changed."""
    path = folder / "d.h5"
    path.write_bytes(spoilt(chance, base.read_bytes()))
    if one_line(lambda: verify(path)):
        assert _truth(path) == _truth(base)


def dataset_structure(chance: random.Random, folder: Path, base: Path) -> None:
    """A well-formed file with strange things in it is refused in one line, or describes and trains as it should."""
    path, elsewhere = folder / "d.h5", folder / "elsewhere.h5"
    shutil.copy(base, path)
    with h5py.File(elsewhere, "w") as file:
        file["u"] = np.full((20, 32), 424242.0, np.float32)
    (folder / "raw").write_bytes(bytes(2560))
    with h5py.File(path, "r+") as file:
        name = chance.choice(list(file))
        escaped = _strange(chance, file, name, elsewhere, folder / "raw")
    code, out, _ = command(["info", path, *chance.choice([[], ["--verify"], ["--json"]])])
    assert "424242" not in out
    assert not (escaped and code == 0), f"{escaped} of '{name}' was read"
    if chance.random() < 0.1:
        options = ["--set", "training.epochs=1", "--set", "model.width=2", "--set", "model.layers=1"]
        code, _, _ = command(["train", "fno", "--data", path, "--out", folder / "run", *options])
        assert not (escaped and code == 0), f"{escaped} of '{name}' was learnt from"
    assert {item.name for item in folder.iterdir()} <= {"d.h5", "elsewhere.h5", "raw", "run"}


def _strange(chance: random.Random, file: h5py.File, name: str, elsewhere: Path, raw: Path) -> str:
    """Changes a file; returns in words what must not be read, or nothing."""
    kind = chance.randrange(10)
    shape = file[name].shape
    if kind == 0:
        del file[name]
        file[name] = h5py.ExternalLink(str(elsewhere), "u")
        return "an external link"
    if kind == 1:
        del file[name]
        file[name] = h5py.SoftLink(chance.choice(["/u", "/nowhere", f"/{name}"]))
        return "a soft link"
    if kind == 2 and shape:
        layout = h5py.VirtualLayout((20, 32), np.float32)
        layout[:] = h5py.VirtualSource(str(elsewhere), "u", (20, 32))
        del file[name]
        file.create_virtual_dataset(name, layout)
        return "a virtual array"
    if kind == 3:
        del file[name]
        file.create_dataset(name, (20, 32), np.float32, external=[(str(raw), 0, 2560)])
        return "external storage"
    if kind == 4:
        del file[name]
        huge = chance.choice([(1 << 40,), (1 << 20, 1 << 20), (20, 1 << 33)])
        file.create_dataset(name, huge, chance.choice([np.float32, np.int64]), chunks=tuple(1 for _ in huge))
        return "a bomb"
    if kind == 5:
        del file[name]
        strange = [np.zeros(0), np.zeros((3, 3)), np.array(1.0), np.array([b"x", b"y"]), np.zeros(20, complex)]
        file[name] = chance.choice(strange)
    elif kind == 6:
        del file[name]
        file.create_group(name)
    elif kind == 7:
        attribute = chance.choice(list(file.attrs))
        wild: list[Any] = ["../../../tmp/x", "", -1, np.nan, np.zeros(3), b"\xff\xfe", "{", "[" * 5000, "[1]", "é" * 40]
        file.attrs[attribute] = chance.choice(wild)
    elif kind == 8:
        del file.attrs[chance.choice(list(file.attrs))]
    else:
        item = file[name]
        if len(item.attrs):
            del item.attrs[chance.choice(list(item.attrs))]
    return ""


# --- run folders and saved states


def run_folder(chance: random.Random, folder: Path, base: Path) -> None:
    """Damage to any file of a run is told, or the weights are what they were."""
    run = folder / "run"
    shutil.copytree(base, run)
    path = chance.choice(sorted(each for each in run.rglob("*") if each.is_file()))
    path.write_bytes(spoilt(chance, path.read_bytes()))
    kept = {}

    def read() -> None:
        opened = open_run(run)
        (replica,) = opened.replicas
        replica.facts()
        replica.metrics()
        kept.update(replica.load_model().state_dict())

    if one_line(read):
        (replica,) = open_run(base).replicas
        truth = replica.load_model().state_dict()
        assert kept.keys() == truth.keys()
        assert all(torch.equal(kept[name], truth[name]) for name in truth), f"{path.name}: other weights"
    _states(run, base)
    command(["runs", folder])
    if chance.random() < 0.05:
        command(chance.choice([["evaluate", run, "--json"], ["train", "fno", "--resume", "--out", run]]))


def _states(run: Path, base: Path) -> None:
    states, names = run / "seed-0" / "checkpoints", []
    if not one_line(lambda: names.extend(intact_checkpoints(states)[0])):
        return
    for name in names:
        state, truth = read_checkpoint(states, name), read_checkpoint(base / "seed-0" / "checkpoints", name)
        assert all(torch.equal(state.weights[key], truth.weights[key]) for key in truth.weights)
        assert str(state.rest) == str(truth.rest)


def forged_state(chance: random.Random, folder: Path, base: Path) -> None:
    """A state with the right checksums and the wrong content ends training in one line."""
    run = folder / "run"
    shutil.copytree(base, run)
    (run / "seed-0" / "facts.json").unlink(missing_ok=True)
    for state in (run / "seed-0" / "checkpoints").iterdir():
        rest = torch.load(state / "state.pt", weights_only=True)
        for _ in range(chance.randrange(1, 3)):
            key = chance.choice(list(rest))
            wild: list[Any] = [None, -1, 10**6, "x", [], {}, torch.zeros(3), torch.full((1,), float("nan"))]
            rest[key] = chance.choice(wild)
            if chance.random() < 0.3:
                del rest[key]
                break
        buffer = io.BytesIO()
        torch.save(rest, buffer)
        (state / "state.pt").write_bytes(buffer.getvalue())
        sums = {
            name: hashlib.sha256((state / name).read_bytes()).hexdigest()
            for name in ("model.safetensors", "best.safetensors", "state.pt")
        }
        (state / "manifest.json").write_text(json.dumps(sums))
    command(["train", "fno", "--resume", "--out", run])


# --- published data


def tfrecords(chance: random.Random, folder: Path, base: Path) -> None:
    """Damage to records or their description is told and leaves nothing, or what was made is intact."""
    source, out = folder / "set", folder / "d.h5"
    shutil.copytree(base, source)
    if chance.random() < 0.5:
        path = source / "train.tfrecord"
        path.write_bytes(spoilt(chance, path.read_bytes()))
    else:
        path = source / "meta.json"
        if chance.random() < 0.5:
            path.write_bytes(spoilt(chance, path.read_bytes()))
        else:
            path.write_text(json.dumps(_wild_meta(chance, json.loads(path.read_text()))))
    selection = Selection(stride=chance.choice([1, 2, 100]), check=chance.random() < 0.8)
    if one_line(lambda: import_meshgraphnets(source, out, selection)):
        assert verify(out).samples > 0
    else:
        assert [item.name for item in folder.iterdir()] == ["set"]


def _wild_meta(chance: random.Random, meta: dict[str, Any]) -> dict[str, Any]:
    name = chance.choice(list(meta["features"]))
    feature = meta["features"][name]
    kind = chance.randrange(8)
    if kind == 0:
        feature["shape"] = [chance.choice([-1, -2, 0, 1, 2, 3, 32, 2**40, "x", None]) for _ in range(3)]
    elif kind == 1:
        feature["dtype"] = chance.choice(["float64", "int8", "f4,f4", "O", "U9", "", "(", "float16", ">f4", "M8", None])
    elif kind == 2:
        feature["type"] = chance.choice(["static", "dynamic", "dynamic_varlen", "", None, 3])
    elif kind == 3:
        meta["dt"] = chance.choice([1e308, -1, "x", None, float("nan"), 0])
    elif kind == 4:
        meta["simulator"] = chance.choice(["", "../../x", "a/b", "x" * 10**5, None, 7])
        del meta["features"][chance.choice(["density", "pressure"])]
        meta["field_names"] = list(meta["features"])
    elif kind == 5:
        wild = chance.choice(["../x", "a/b", "", ".", "\0", "x" * 3000, "sample", "mesh", "time", "é"])
        meta["features"][wild] = meta["features"].pop(name)
        meta["field_names"] = list(meta["features"])
    elif kind == 6:
        meta["field_names"] = chance.choice([[], ["nothing"], None, "cells", {}, [name, name]])
    else:
        meta[chance.choice(list(meta))] = chance.choice([None, [], {}, "x", 3])
    return meta


def mat_files(chance: random.Random, folder: Path, base: Path) -> None:
    """A .mat file of either version becomes an intact dataset, or one line."""
    source, out = folder / "a.mat", folder / "d.h5"
    if chance.random() < 0.3:
        _wild_mat(chance, source)
    else:
        content = chance.choice(sorted(base.glob("*.mat"))).read_bytes()
        source.write_bytes(spoilt(chance, content))
    equation = chance.choice(["", "burgers", "navier-stokes", "heat", "darcy"])
    if one_line(lambda: import_mat(source, out, MatDescription(equation))):
        assert verify(out).samples > 0
    else:
        assert [item.name for item in folder.iterdir()] == ["a.mat"]


def _wild_mat(chance: random.Random, path: Path) -> None:
    wild = {
        "words": np.array(["ab", "cd"]),
        "cells": np.array([[1, "x"], ["", 2]], object),
        "complex": np.ones((4, 8), complex),
        "flat": np.ones((4, 8)),
        "none": np.zeros((0, 8)),
        "nan": np.full((4, 8), np.nan),
        "large": np.full((4, 8), 1e300),
        "struct": {"x": np.ones(3)},
        "flow": np.ones((2, 4, 4, 3)),
        "oblong": np.ones((2, 4, 5, 3)),
        "bool": np.ones((4, 8), bool),
        "sparse": scipy.sparse.eye(4).tocsc(),
    }
    chosen = {name: wild[chance.choice(list(wild))] for name in chance.sample(["a", "u", "t"], chance.randrange(1, 4))}
    if chance.random() < 0.5:
        scipy.io.savemat(path, chosen, do_compression=chance.random() < 0.5)
        return
    with h5py.File(path, "w") as file:
        for name, value in chosen.items():
            kind = chance.randrange(5)
            if kind == 0:
                file[name] = h5py.ExternalLink("elsewhere.h5", "u")
            elif kind == 1:
                file.create_dataset(name, (1 << 30, 1 << 10), np.float32, chunks=(1, 1))
            elif isinstance(value, np.ndarray) and value.dtype.kind in "fbc":
                file[name] = value.T
            else:
                file.create_group(name)


# --- command lines


def command_line(chance: random.Random, folder: Path, base: Path) -> None:
    """Whatever is typed ends with 0 or with one line."""
    base = Path(shutil.copytree(base, folder / "base"))
    verbs = {
        ("info",): [base / "d.h5"],
        ("models",): [],
        ("runs",): [base],
        ("evaluate",): [base / "run"],
        ("compare",): [base / "run", base / "run"],
        ("report",): [base / "run"],
        ("generate", "burgers"): [],
        ("generate", "heat"): [],
        ("generate", "navier-stokes"): [],
        ("generate", "airfoil"): [],
        ("generate", "recipe"): ["paper-heat"],
        ("import", "mat"): [base / "a.mat"],
        ("import", "meshgraphnets"): [base / "set"],
        ("export", "mat"): [base / "d.h5"],
        ("export", "well"): [base / "d.h5"],
        ("train",): ["fno"],
        ("sweep",): ["fno-burgers"],
    }
    options = [
        "--out --data --samples --seed --resolution --set --config --kiti --no-kiti --seeds --resume --json --maps",
        "--frames --nu --length --stride --split --param --trials --verify --plot --shard --workers --device",
        "--resolutions --alpha --mach --angle --preset --interval --final-time --velocity --dt --overwrite --nonsense",
    ]
    names = " ".join(options).split()
    values: list[object] = [
        *["-1", "0", "1", "2", "1e99", "nan", "inf", "x", "", "é", "..", "/", "\ud800", "a=b", "0/1", "9/2", "1:2"],
        *["9" * 30, "%s", "{}", "--", "-", "=", "a" * 2000, "training.epochs=1", "model.width=2", "x:y", "64,x", "[1"],
        folder / "out.h5",
        folder / "run",
        folder,
        base / "d.h5",
        base / "none.h5",
    ]
    verb = chance.choice(list(verbs))
    words: list[object] = [*verb, *verbs[verb]]
    if chance.random() < 0.2 and len(words) > 1:
        words[chance.randrange(len(words))] = chance.choice(values)
    for _ in range(chance.choice([0, 1, 1, 2, 3])):
        words += [chance.choice(names), *([chance.choice(values)] if chance.random() < 0.8 else [])]
    # What would take long, were it asked for in earnest.
    if verb[0] == "generate":
        words.append("--dry-run")
    if verb[0] in ("train", "sweep"):
        words += ["--set", "training.epochs=1", "--set", "data.train=1", "--set", "model.width=2"]
        words += ["--set", "no.such.key=1"] if verb[0] == "sweep" or chance.random() < 0.9 else []
    os.chdir(folder)
    command(words)
