"""Settings: every shipped file is valid, every mistake is one line that names the key."""

import re
from contextlib import suppress

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kitipde.config import RunConfig
from kitipde.config.load import override, place, read_config, resolve_config, shipped_configs, write_config
from kitipde.errors import InputError


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_every_shipped_configuration_is_valid(name: str) -> None:
    resolve_config(read_config(name))


def test_a_written_configuration_reads_back_as_the_same() -> None:
    config = resolve_config({}, ["training.epochs=7", "residual.kind=kiti", "optimizer.learning_rate=3e-4"])
    assert resolve_config(yaml.safe_load(write_config(config))) == config
    assert config.optimizer.learning_rate == 3e-4


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.epoch=2", "unknown config key 'training.epoch'; did you mean 'training.epochs'?"),
        ("schedul.every=1", "unknown config key 'schedul'; did you mean 'schedule'?"),
        ("training.epochs=0", "config key 'training.epochs': input should be greater than 0 (given 0)"),
        ("training.epochs=many", "config key 'training.epochs': input should be a valid integer"),
        ("residual.coll_coef=1.5", "config key 'residual.coll_coef': .*1"),
        ("model.activation=tanh", "config key 'model.activation': input should be 'relu' or 'gelu' (given 'tanh')"),
        ("training=3", "config key 'training' is a section of settings"),
        ("epochs", "--set takes KEY=VALUE"),
        ("training.epochs=[1", "is not a YAML value"),
    ],
)
def test_a_mistake_is_one_line_naming_the_key(assignment: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        resolve_config({}, [assignment])
    text = str(error.value)
    assert re.search(message, text) or message in text
    assert "\n" not in text


def test_an_unknown_configuration_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'fno-burgers'"):
        read_config("fno-burger")


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [", "!!python/object/apply:os.system ['true']", "\x00"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, content: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=re.escape(str(path))):
        read_config(str(path))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
trees = st.recursive(
    scalars, lambda children: st.dictionaries(st.text(max_size=10), children, max_size=3), max_leaves=6
)
sections = st.dictionaries(st.sampled_from([*RunConfig.model_fields, "other"]), trees, max_size=4)


@given(tree=sections)
@settings(max_examples=300, deadline=None)
def test_any_tree_is_a_configuration_or_one_line(tree: dict) -> None:
    with suppress(InputError):
        assert isinstance(resolve_config(tree), RunConfig)


def test_an_assigned_setting_replaces_the_one_it_excludes() -> None:
    by_rate, by_coefficient = {"residual": {"target_rate": 0.1}}, {"residual": {"coll_coef": 0.3}}
    assert resolve_config(by_rate, ["residual.coll_coef=0.9"]).residual.target_rate is None
    assert resolve_config(by_coefficient, ["residual.target_rate=0.05"]).residual.coll_coef == "auto"
    with pytest.raises(InputError, match="both set how often particles collide"):
        resolve_config({}, ["residual.coll_coef=0.9", "residual.target_rate=0.05"])


def test_coll_coef_auto_alone_is_the_recommended_rate_and_schedule() -> None:
    residual = resolve_config({}, ["residual.coll_coef=auto"]).residual
    assert (residual.target_rate, residual.schedule) == (0.01, "annealed")
    chosen = resolve_config({}, ["residual.coll_coef=auto", "residual.schedule=constant"]).residual
    assert (chosen.target_rate, chosen.schedule) == (0.01, "constant")


def test_placing_a_key_leaves_the_tree_as_it_was() -> None:
    tree = {"training": {"epochs": 3}}
    assert place(tree, "training.seed", 1) == {"training": {"epochs": 3, "seed": 1}}
    assert override(tree, ["data.train=5"]) == {"training": {"epochs": 3}, "data": {"train": 5}}
    assert tree == {"training": {"epochs": 3}}
