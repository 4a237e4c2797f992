"""What is shipped, and that the README's commands are those the program has."""

import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_module_configuration_and_template(wheel) -> None:
    shipped = set(wheel.namelist())
    sources = [path for package in ("kitipde", "datagen") for path in (ROOT / package).rglob("*.*")]
    wanted = {str(path.relative_to(ROOT)) for path in sources if "__pycache__" not in path.parts and path.is_file()}
    wanted |= {f"kitipde/configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml")}
    assert wanted <= shipped
    assert not [name for name in shipped if name.startswith(("tests/", "benchmarks/", "docs/"))]


def test_the_program_runs_from_the_wheel_alone(wheel, tmp_path) -> None:
    wheel.extractall(tmp_path)
    # -S -P leave out the editable install of this checkout, so that only the wheel's copy can be found.
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3];"
        "import kitipde.config.load as load; assert load.__file__.startswith(sys.argv[1]), load.__file__;"
        "load.resolve_config(load.read_config('demo')); sys.argv = ['kitipde', '--help'];"
        "from kitipde.cli import main; main()"
    )
    places = [str(tmp_path), sysconfig.get_path("purelib")]
    result = subprocess.run([sys.executable, "-S", "-P", "-c", code, *places], capture_output=True, text=True, cwd="/")
    assert result.returncode == 0, result.stderr
    assert "generate" in result.stdout


@pytest.mark.slow
def test_the_demo_runs_from_a_fresh_environment_outside_the_tree(wheel, tmp_path) -> None:
    # Installs torch anew, from wherever pip is told to look: minutes, and about 1.3 GB.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: str) -> str:
        result = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-2000:]
        return result.stdout

    run(sys.executable, "-m", "venv", "venv")
    pip = ("venv/bin/python", "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"))
    run(*pip, "torch")
    run(*pip, str(wheel.filename))
    place = run("venv/bin/python", "-c", "import kitipde, datagen; print(kitipde.__file__, datagen.__file__)")
    assert place.count(str(tmp_path / "venv")) == 2
    assert "verdict" in run("venv/bin/kitipde", "demo", "--out", "demo")


def test_the_source_archive_builds_the_same_wheel(wheel, tmp_path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
    subprocess.run([*build, "-t", "sdist"], cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as sources:
        sources.extractall(tmp_path, filter="data")
    (root,) = (path for path in tmp_path.iterdir() if path.is_dir())
    subprocess.run([*build, "-t", "wheel"], cwd=root, check=True, capture_output=True)
    (again,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(again) as built:
        assert sorted(built.namelist()) == sorted(wheel.namelist())


def readme_commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    return [line for block in blocks for line in block.splitlines() if line.startswith("kitipde ")]


@pytest.mark.parametrize("command", readme_commands())
def test_every_command_of_the_readme_exists_with_its_options(command: str, kitipde) -> None:
    words = shlex.split(command)[1:]
    options = {word.split("=")[0] for word in words if word.startswith("--")}
    verb = words[:2] if words[0] in ("generate", "import") else words[:1]
    help_text = kitipde(*verb, "--help")
    assert help_text.code == 0
    missing = {option for option in options if option not in help_text.out.replace("\n", " ")}
    assert not missing


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_every_benchmark_starts(path: Path) -> None:
    command = [sys.executable, "-P", str(path), "--help"]
    assert subprocess.run(command, capture_output=True, text=True).returncode == 0


def test_a_notebook_is_offered_the_public_names_and_nothing_else() -> None:
    import kitipde as package

    assert dir(package) == sorted(package.__all__)
    assert all(getattr(package, name) is not None for name in package.__all__)
