"""Files and command lines from strangers: never a traceback, never a hang, never a wrong result in silence.

A slice of each runs with the tests; the campaign runs a thousand.
"""

import ast
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import kitipde
from datagen.formats.meshgraphnets.crc32c import crc32c
from kitipde.config import RunConfig
from kitipde.config.load import resolve_config, write_config
from kitipde.config.text import parse_yaml
from tests.datagen import mesh_records as published
from tests.faults import targets
from tests.faults.conftest import Commands
from tests.faults.fuzzing import Case, one_line, run_cases
from tests.training.conftest import trained


def cases(slice_of: int) -> pytest.MarkDecorator:
    """A slice with the tests, a thousand in the campaign."""
    campaign = pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.faults], id="campaign")
    return pytest.mark.parametrize("count", [pytest.param(slice_of, id="slice"), campaign])


@pytest.fixture(scope="session")
def base(tmp_path_factory, burgers_file: Path) -> Path:
    """A dataset, a trained run, published records and .mat files, all small."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "d.h5").write_bytes(burgers_file.read_bytes())
    options = ("residual.kind=kiti", "training.epochs=2", "training.checkpoint_seconds=0")
    trained(folder / "d.h5", folder / "run", *options)
    mesh = published.ring(8, 4)
    (folder / "set").mkdir()
    samples = [published.flow(number, 5, True, mesh) for number in range(2)]
    records = [
        published.record(published.example({name: array.tobytes() for name, array in sample.items()}), crc32c)
        for sample in samples
    ]
    (folder / "set" / "train.tfrecord").write_bytes(b"".join(records))
    (folder / "set" / "meta.json").write_text(published.meta(samples[0]))
    chance = np.random.default_rng(0)
    arrays = {"a": chance.standard_normal((6, 32)), "u": chance.standard_normal((6, 32))}
    scipy.io.savemat(folder / "a.mat", arrays, do_compression=True)
    flow = {"a": chance.standard_normal((2, 8, 8)), "u": chance.standard_normal((2, 8, 8, 3)), "t": np.arange(1.0, 4)}
    scipy.io.savemat(folder / "flow.mat", flow)
    with h5py.File(folder / "new.mat", "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array.T, compression="gzip")
    return folder


@pytest.fixture
def fuzzed(commands: Commands, tally) -> Callable[[str, Case, int], None]:
    def run(what: str, case: Case, count: int) -> None:
        asked = "no traceback, no hang, nothing wrong in silence"
        tally(f"fuzz: {what}", "cases", count, run_cases(commands.context, case, count), asked)

    return run


@cases(60)
def test_yaml_bytes(fuzzed, count: int) -> None:
    fuzzed("files of settings, raw YAML", targets.yaml_bytes, count)


@cases(40)
def test_dataset_bytes(fuzzed, base: Path, count: int) -> None:
    fuzzed("datasets, bytes", partial(targets.dataset_bytes, base=base / "d.h5"), count)


@cases(30)
def test_dataset_structure(fuzzed, base: Path, count: int) -> None:
    fuzzed("datasets, links, shapes, types, bombs", partial(targets.dataset_structure, base=base / "d.h5"), count)


@cases(20)
def test_run_folders(fuzzed, base: Path, count: int) -> None:
    fuzzed("run folders and checkpoints, bytes", partial(targets.run_folder, base=base / "run"), count)


@cases(5)
def test_forged_states(fuzzed, base: Path, count: int) -> None:
    fuzzed("checkpoints with right sums and wrong content", partial(targets.forged_state, base=base / "run"), count)


@cases(30)
def test_tfrecords(fuzzed, base: Path, count: int) -> None:
    fuzzed("TFRecords and meta.json", partial(targets.tfrecords, base=base / "set"), count)


@cases(40)
def test_mat_files(fuzzed, base: Path, count: int) -> None:
    fuzzed(".mat files, versions 5 and 7.3", partial(targets.mat_files, base=base), count)


@cases(30)
def test_command_lines(fuzzed, base: Path, count: int) -> None:
    fuzzed("command lines", partial(targets.command_line, base=base), count)


# --- settings as trees


def _values(key: str) -> st.SearchStrategy:
    numbers = st.integers() | st.floats() | st.sampled_from([0, 1, -1, 2**31, 2**63, 1e-300, True, False])
    words = st.sampled_from(["auto", "all", "kiti", "hard", "soft", "gaussian", "bf16", "adamw", "", "\0", key])
    single = numbers | words | st.none() | st.text(max_size=5)
    return single | st.lists(single, max_size=3) | st.dictionaries(words, single, max_size=2)


def _sections() -> st.SearchStrategy:
    sections = {}
    for name in RunConfig.model_fields:
        default = getattr(RunConfig(), name)
        keys = [*type(default).model_fields, "nmae"]
        sections[name] = st.fixed_dictionaries({}, optional={key: _values(key) for key in keys}) | _values(name)
    return st.fixed_dictionaries({}, optional=sections)


@cases(100)
def test_any_tree_over_the_schema_is_settings_or_one_line(tally, count: int) -> None:
    tried = 0

    @seed(0)
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(tree=_sections())
    def run(tree: dict) -> None:
        nonlocal tried
        tried += 1
        read = []
        if one_line(lambda: read.append(resolve_config(tree))):
            assert resolve_config(parse_yaml(write_config(read[0]))) == read[0]

    run()
    tally(
        "fuzz: settings, trees over the schema", "cases", tried, [], "settings that read back as the same, or one line"
    )


# --- what loads code


def _calls(path: Path) -> list[tuple[str, ast.Call]]:
    tree = ast.parse(path.read_text())
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_nothing_is_unpickled_and_no_yaml_builds_objects() -> None:
    root = Path(kitipde.__file__).parents[1]
    for path in [*root.glob("kitipde/**/*.py"), *root.glob("datagen/**/*.py")]:
        source = ast.parse(path.read_text())
        imported = {
            alias.name
            for node in ast.walk(source)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in [*node.names, ast.alias(getattr(node, "module", None) or "")]
        }
        assert not imported & {"pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}, path
        for name, call in _calls(path):
            given_words = {word.arg: ast.unparse(word.value) for word in call.keywords}
            if name == "torch.load":
                assert given_words.get("weights_only") == "True", path
            if name in ("np.load", "numpy.load"):
                assert given_words.get("allow_pickle", "False") == "False", path
            if name.startswith("yaml.") and "load" in name:
                assert name == "yaml.safe_load" or path.name == "text.py", path
            assert name not in ("eval", "exec", "yaml.unsafe_load", "yaml.full_load"), path
