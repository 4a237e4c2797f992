"""The command line: one module a verb, imported with nothing heavier than typer.

Exit codes: 0 done; 2 the input is wrong (one line on stderr); 1 an internal failure; 130 stopped by Ctrl-C, 143 by
SIGTERM, in both cases resumable.
"""

import io
import os
import sys
from typing import Annotated, NoReturn

import typer

from datagen.errors import InputError, out_of_memory
from kitipde.cli.verbs import Root, Verbs

__all__ = ["app", "main"]


def _app() -> typer.Typer:
    from kitipde.cli import (
        compare,
        condense,
        demo,
        evaluate,
        export,
        generate,
        import_,
        info,
        models,
        pool,
        predict,
        report,
        reproduce,
        runs,
        sweep,
        train,
    )

    root = typer.Typer(
        name="kitipde",
        cls=Root,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        epilog="`kitipde VERB -h` lists what a verb takes.",
    )
    root.callback()(_options)
    # `Root` has their order. A group of commands is `root.add_typer(module.app, name=..., cls=Verbs)`, a single one
    # `root.command(name)(module.function)`.
    root.command("demo")(demo.demo)
    root.add_typer(generate.app, name="generate", cls=generate.Equations, no_args_is_help=False)
    root.add_typer(import_.app, name="import", cls=Verbs, no_args_is_help=False)
    root.command("info")(info.info)
    root.add_typer(export.app, name="export", cls=Verbs, no_args_is_help=False)
    root.command("models")(models.models)
    root.command("train")(train.train)
    root.command("runs")(runs.runs)
    root.command("evaluate")(evaluate.evaluate)
    root.command("compare")(compare.compare)
    root.command("report")(report.report)
    root.command("predict")(predict.predict)
    root.command("reproduce")(reproduce.reproduce)
    root.command("ablate")(reproduce.ablate)
    root.command("pool")(pool.pool)
    root.command("sweep")(sweep.sweep)
    root.command("condense")(condense.condense)
    return root


def _show_version(asked: bool) -> None:
    if asked:
        import kitipde

        print(kitipde.__version__)
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """PDE data, neural operators trained on them, and an honest verdict on which idea helps."""


app = _app()


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    # Threads that wait by spinning make a small model many times slower as soon as another process wants a core too.
    # The OpenMP runtime reads this when torch loads it, so it must be said before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _prepare_streams()
    try:
        code = app(prog_name="kitipde", standalone_mode=False)
        # Here, where a reader that has gone or a full disk can still be told; not when the interpreter ends.
        sys.stdout.flush()
    except InputError as error:
        code = _complain(str(error), 2)
    except typer.TyperException as error:
        code = _complain(_wrong_usage(error), 2)
    except typer.Abort:
        code = _complain("interrupted", 130)
    except (BrokenPipeError, SystemExit) as error:
        # The reader of our stdout has gone (`| head`): nothing is wrong. Typer makes an exit of it.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        _abandon_stdout()
        code = 0
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        code = _complain(f"{what}{error.strerror or error}", 2)
        _abandon_stdout()
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        code = _complain(f"out of memory: {next(iter(str(error).splitlines()), 'the machine has no more')}", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _prepare_streams() -> None:
    """Closed streams lead nowhere, and a character that a terminal cannot show is no reason to stop."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _abandon_stdout() -> None:
    """Keep the interpreter from writing what is left to where it cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _wrong_usage(error: typer.TyperException) -> str:
    """What the parser says, or for an option that is a setting, how settings are given."""
    option = getattr(error, "option_name", None)
    if option is not None:
        from kitipde.config.foreign import settings_called

        known = settings_called(option.lstrip("-").replace("-", "_"))
        if known:
            ways = " or ".join(f"--set {key}=…" for key in known)
            return f"no option {option}: settings are given with --set, here {ways}"
    return error.format_message()


def _complain(message: str, code: int) -> int:
    print(f"kitipde: {' '.join(message.split())}", file=sys.stderr)
    return code
