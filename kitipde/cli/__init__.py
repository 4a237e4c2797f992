"""The command line: one module a verb, imported with nothing heavier than typer.

Exit codes: 0 done; 2 the input is wrong (one line on stderr); 1 an internal failure; 130 interrupted, resumable.
"""

import io
import os
import sys
from typing import Annotated, NoReturn

import typer

from datagen.errors import InputError, out_of_memory

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
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    root.callback()(_options)
    # Verbs in the order in which a user meets them. A group of commands is `root.add_typer(module.app, name=...)`, a
    # single one `root.command(name)(module.function)`.
    root.command("demo")(demo.demo)
    root.add_typer(generate.app, name="generate")
    root.add_typer(import_.app, name="import")
    root.add_typer(export.app, name="export")
    root.command("info")(info.info)
    root.command("models")(models.models)
    root.command("train")(train.train)
    root.command("runs")(runs.runs)
    root.command("evaluate")(evaluate.evaluate)
    root.command("predict")(predict.predict)
    root.command("compare")(compare.compare)
    root.command("condense")(condense.condense)
    root.command("report")(report.report)
    root.command("reproduce")(reproduce.reproduce)
    root.command("ablate")(reproduce.ablate)
    root.command("pool")(pool.pool)
    root.command("sweep")(sweep.sweep)
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
    """PDE data, neural operators with kinetic (KITI) residuals, and an honest verdict on what they bring."""


app = _app()


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    # Threads that wait by spinning make a small model many times slower as soon as another process wants a core too.
    # The OpenMP runtime reads this when torch loads it, so it must be said before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _prepare_streams()
    try:
        code = app(standalone_mode=False)
        # Here, where a reader that has gone or a full disk can still be told; not when the interpreter ends.
        sys.stdout.flush()
    except InputError as error:
        code = _complain(str(error), 2)
    except typer.TyperException as error:
        code = _complain(error.format_message(), 2)
    except (KeyboardInterrupt, typer.Abort):
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


def _complain(message: str, code: int) -> int:
    print(f"kitipde: {' '.join(message.split())}", file=sys.stderr)
    return code
