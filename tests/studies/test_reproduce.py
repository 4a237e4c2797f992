"""Studies at a size of seconds: what a user types, what is reused, what is refused."""

import json
from dataclasses import replace

import pytest

from kitipde.config.load import read_config, resolve_config
from kitipde.errors import InputError
from kitipde.runs import open_run
from kitipde.studies import plans, problems
from kitipde.studies.plans import ABLATIONS, STUDIES, ablation, selected, study
from kitipde.studies.problems import DROPOUT, VANILLA, Problem, kiti

SMALL = (
    "model.modes=4",
    "model.width=8",
    "model.layers=2",
    "model.projection_width=8",
    "training.epochs=2",
    "training.batch_size=5",
    "data.train=10",
    "data.validation=5",
    "data.test=5",
)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The problems shrunk further, in a folder of their own."""
    line = Problem(
        "burgers",
        "Burgers",
        ("burgers", "--samples", "20", "--resolution", "32", "--solve-resolution", "256"),
        "fno-burgers",
        (*SMALL, "data.resolution=32"),
        32,
        (VANILLA, kiti("burgers"), DROPOUT),
    )
    plane = Problem(
        "heat",
        "heat",
        ("heat", "--samples", "20", "--resolution", "16", "--frames", "4"),
        "fno-heat",
        (*SMALL, "data.resolution=16", "data.input_frames=2", "data.output_frames=2"),
        16,
        (VANILLA, kiti("heat")),
    )
    monkeypatch.setitem(problems.PRESETS, "quick", (line, plane))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_table_is_made_reused_and_extended(kitipde, tiny) -> None:
    first = kitipde("reproduce", "table4", "--seeds", 1, "--json")
    assert first.code == 0, first.err
    table = json.loads(first.out)
    assert [(row["problem"], row["name"]) for row in table["rows"]] == [
        ("Burgers", "vanilla"),
        ("Burgers", "kiti"),
        ("Burgers", "dropout"),
        ("heat", "vanilla"),
        ("heat", "kiti"),
    ]
    assert table["command"] == "kitipde reproduce table4 --preset quick --seeds 1"
    assert table["rows"][0]["published"] == 0.00217
    assert table["rows"][1]["ratio"] == pytest.approx(
        table["rows"][1]["error"]["mean"] / table["rows"][0]["error"]["mean"]
    )
    assert "seed" in table["rows"][1]["verdict"]
    weights = (tiny / "studies" / "table4-quick" / "burgers" / "kiti" / "seed-0" / "best.safetensors").stat().st_mtime
    second = kitipde("reproduce", "table4", "--seeds", 3)
    assert second.code == 0, second.err
    assert "has finished already" in second.err
    assert "95 %" in second.out
    assert (
        tiny / "studies" / "table4-quick" / "burgers" / "kiti" / "seed-0" / "best.safetensors"
    ).stat().st_mtime == weights
    assert [each.seed for each in open_run("studies/table4-quick/heat/kiti").replicas] == [0, 1, 2]
    page = (tiny / "studies" / "table4-quick" / "results.md").read_text()
    assert page.count("| Burgers |") == 3
    assert (tiny / "studies" / "table4-quick" / "heat" / "report.html").is_file()


def test_the_airfoil_has_a_row_with_the_error_of_its_mesh(kitipde, tiny, monkeypatch) -> None:
    shrunk = replace(
        next(each for each in problems._quick() if each.name == "airfoil"),
        generate=("airfoil", "--preset=quick", "--around=16", "--layers=8", "--far=5", "--frames=4", "--samples=8"),
        settings=(
            "data.input_frames=2",
            "data.output_frames=2",
            "data.train=4",
            "data.validation=2",
            "data.test=2",
            "training.batch_size=4",
            "training.epochs=1",
            "training.curriculum_frames=1",
        ),
    )
    monkeypatch.setitem(problems.PRESETS, "quick", (shrunk,))
    result = kitipde("reproduce", "table4", "--seeds", 1, "--json")
    assert result.code == 0, result.err
    vanilla, kiti = json.loads(result.out)["rows"]
    assert (vanilla["arm"], vanilla["metric"], vanilla["published"]) == ("OFormer", "momentum_rmse", 16.39461)
    assert kiti["ratio"] == pytest.approx(kiti["error"]["mean"] / vanilla["error"]["mean"])
    assert "momentum_rmse: airfoil" in (tiny / "studies" / "table4-quick" / "results.md").read_text()


def test_a_figure_is_drawn_for_what_is_varied(kitipde, tiny, monkeypatch) -> None:
    monkeypatch.setattr(plans, "_heads", lambda least: _few_heads())
    result = kitipde("reproduce", "figure2", "--seeds", 1)
    assert result.code == 0, result.err
    for suffix in ("png", "pdf"):
        assert (tiny / "studies" / "figure2-quick" / f"burgers-collision_heads.{suffix}").stat().st_size > 5000


def _few_heads():
    from kitipde.studies.problems import Arm

    return tuple(
        Arm(f"heads-{heads}", f"{heads} heads", (*kiti("heat").settings, f"residual.collision_heads={heads}"), heads)
        for heads in (8, 16, 32)
    )


@pytest.mark.parametrize("preset", ["quick", "large"])
def test_the_arm_called_kiti_is_what_the_command_line_s_kiti_ships_with(preset) -> None:
    for each in problems.PRESETS[preset]:
        arm = next(arm for arm in each.arms if arm.name == "kiti")
        shipped = resolve_config(read_config(each.config), ["residual.kind=kiti"])
        assert resolve_config(read_config(each.config), list(arm.settings)).residual == shipped.residual


def test_table_7_has_the_condensation_of_each_layer(kitipde, tiny, monkeypatch) -> None:
    line, plane = problems.PRESETS["quick"]
    monkeypatch.setitem(problems.PRESETS, "quick", (line, replace(plane, name="navier-stokes")))
    result = kitipde("reproduce", "table7", "--seeds", 3)
    assert result.code == 0, result.err
    layers = json.loads((tiny / "studies" / "table7-quick" / "condensation.json").read_text())
    assert {"convolutions.0", "skips.0"} <= {layer["layer"] for layer in layers}
    assert all(len(degrees) == 3 for layer in layers for degrees in layer["degrees"].values())
    assert "0.113 → 0.102" in (tiny / "studies" / "table7-quick" / "condensation.md").read_text()


def test_the_optimizer_is_taken_apart_too(kitipde, tiny) -> None:
    result = kitipde("ablate", "optimizer", "--seeds", 1, "--problems", "heat", "--arms", "soft,hard-all", "--json")
    assert result.code == 0, result.err
    assert [row["name"] for row in json.loads(result.out)["rows"]] == ["vanilla", "soft", "hard-all"]
    config = open_run("studies/optimizer-quick/heat/hard-all").config.optimizer.collisions
    assert (config.kind, config.target_rate, config.layers) == ("hard", 0.2, "all")


def test_training_sets_of_several_sizes_share_data_and_number_of_steps(kitipde, tiny, monkeypatch) -> None:
    monkeypatch.setattr(plans, "SIZES", (5, 10))
    monkeypatch.setattr(plans, "HELD_BACK", 5)
    result = kitipde("ablate", "samples", "--seeds", 1, "--problems", "burgers", "--json")
    assert result.code == 0, result.err
    rows = json.loads(result.out)["rows"]
    assert [row["problem"] for row in rows] == ["Burgers, 5 samples"] * 2 + ["Burgers, 10 samples"] * 2
    assert [path.name for path in (tiny / "studies" / "data").glob("*.h5")] == ["burgers-20-quick.h5"]
    epochs = [open_run(f"studies/samples-quick/burgers-{n}/kiti").config.training.epochs for n in (5, 10)]
    assert epochs == [4, 2], "a batch of 5 samples: one step an epoch, or two"


def test_learning_rates_fall_as_often_with_few_samples_as_with_many() -> None:
    burgers, *_, last = ablation("samples", "paper", ("burgers",)).problems
    for each, epochs, every in ((burgers, 50_000, 5_000), (last, 1_000, 100)):
        config = resolve_config(read_config(each.config), list(each.settings))
        assert (config.training.epochs, config.schedule.every) == (epochs, every)
        assert config.training.epochs / config.training.validate_every == 100


def test_sizes_that_would_be_trained_for_a_few_epochs_only_are_left_out() -> None:
    names = [each.name for each in ablation("samples", "quick", ("heat",)).problems]
    assert names == ["heat-20", "heat-50"]


def test_a_run_of_other_settings_is_refused_before_anything_is_made(kitipde, tiny) -> None:
    assert kitipde("reproduce", "table4", "--seeds", 1, "--problems", "heat", "--arms", "kiti").code == 0
    line, plane = problems.PRESETS["quick"]
    problems.PRESETS["quick"] = (line, replace(plane, settings=(*plane.settings, "training.epochs=7")))
    result = kitipde("reproduce", "table4", "--seeds", 1, "--problems", "heat")
    assert result.code == 2
    assert "training.epochs=2, the study has 7" in result.err
    assert not (tiny / "studies" / "table4-quick" / "heat" / "dropout").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("reproduce", "table5"), "did you mean 'table"),
        (("reproduce", "table4", "--preset", "quik"), "did you mean 'quick'"),
        (("reproduce", "table4", "--problems", "burger"), "did you mean 'burgers'"),
        (("reproduce", "table4", "--arms", "kitti"), "did you mean 'kiti'"),
        (("ablate", "residuals"), "did you mean 'residual'"),
    ],
)
def test_a_mistake_is_one_line(kitipde, tmp_path, monkeypatch, words, message) -> None:
    monkeypatch.chdir(tmp_path)
    result = kitipde(*words)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert message in result.err
    assert not list(tmp_path.iterdir())


def test_every_plan_resolves_at_every_size() -> None:
    from kitipde.config.load import read_config, resolve_config

    for preset in problems.PRESETS:
        for plan in [study(name, preset) for name in STUDIES] + [ablation(name, preset, ()) for name in ABLATIONS]:
            for problem in plan.problems:
                names = [arm.name for arm in problem.arms]
                assert len(set(names)) == len(names)
                assert names[0] == "vanilla"
                for arm in problem.arms:
                    config = resolve_config(read_config(problem.config), [*problem.settings, *arm.settings])
                    assert (config.residual.kind == "plain") == (
                        arm.name in ("vanilla", "weight-decay", "soft", "hard", "soft-all", "hard-all")
                    )


def test_the_paper_preset_is_the_published_setting() -> None:
    from kitipde.config.load import read_config, resolve_config

    for problem in (each for each in study("table4", "paper").problems if each.model == "fno"):
        kiti = next(arm for arm in problem.arms if arm.name == "kiti-0.9")
        config = resolve_config(read_config(problem.config), [*problem.settings, *kiti.settings])
        assert (config.residual.coll_coef, config.training.epochs, config.training.batch_size) == (0.9, 1000, 20)


def test_a_study_of_one_arm_is_refused_unless_it_is_named_as_its_own_reference() -> None:
    with pytest.raises(InputError, match="at least two arms"):
        selected(study("table4", "quick"), (), ("vanilla",))
    alone = selected(study("table6", "quick"), ("heat",), ("kiti-without-update",), "kiti-without-update")
    assert [arm.name for arm in alone.problems[0].arms] == ["kiti-without-update"]


def test_another_reference_comes_first() -> None:
    plan = selected(study("table6", "quick"), ("heat",), ("kiti-without-update",), "kiti")
    assert [[arm.name for arm in each.arms] for each in plan.problems] == [["kiti", "kiti-without-update"]]
    everything = selected(study("table6", "quick"), (), (), "kiti")
    assert [arm.name for arm in everything.problems[0].arms] == ["kiti", "vanilla", "kiti-without-update"]
    with pytest.raises(InputError, match=r"arm of airfoil.*dropout"):
        selected(study("table4", "quick"), (), (), "dropout")
    with pytest.raises(InputError, match="drawn beside vanilla"):
        selected(study("figure2", "quick"), (), (), "heads-8")


def test_seeds_of_two_machines_make_one_table(kitipde, tiny) -> None:
    for words in (("--seeds", 1, "--out", "a"), ("--seeds", 2, "--first-seed", 1, "--out", "b")):
        assert kitipde("reproduce", "table4", "--problems", "burgers", "--arms", "kiti", *words).code == 0
    assert [each.seed for each in open_run("b/burgers/kiti").replicas] == [1, 2]
    assert json.loads((tiny / "b" / "results.json").read_text())["command"].endswith("--seeds 2 --first-seed 1")
    pooled = kitipde("pool", "a/results.json", "b/results.json", "--out", "c")
    assert pooled.code == 0, pooled.err
    assert "Burgers" in pooled.out
    table = json.loads((tiny / "c" / "results.json").read_text())
    assert [row["seeds"] for row in table["rows"]] == [3, 3]
    assert table["rows"][1]["low"] < table["rows"][1]["ratio"] < table["rows"][1]["high"]
    turned = kitipde("pool", "c/results.json", "--reference", "kiti", "--json")
    assert [(row["name"], row["ratio"] is None) for row in json.loads(turned.out)["rows"]] == [
        ("kiti", True),
        ("vanilla", False),
    ]
    twice = kitipde("pool", "a/results.json", "a/results.json")
    assert twice.code == 2
    assert "seed 0" in twice.err
    other = kitipde("reproduce", "table4", "--problems", "burgers", "--arms", "kiti", "--first-seed", 5, "--out", "a")
    assert other.code == 2
    assert "training.seed=0" in other.err
