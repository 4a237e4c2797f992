"""The command line: one module a verb, imported with nothing heavier than typer.

Exit codes: 0 done; 2 the input is wrong (one line on stderr); 1 an internal failure; 130 interrupted, resumable.
"""

import os
import sys
from typing import NoReturn

import typer

from datagen.errors import InputError

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
        report,
        reproduce,
        runs,
        sweep,
        train,
    )

    root = typer.Typer(
        name="kitipde",
        help="PDE data, neural operators with kinetic (KITI) residuals, and an honest verdict on what they bring.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
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
    root.command("compare")(compare.compare)
    root.command("condense")(condense.condense)
    root.command("report")(report.report)
    root.command("reproduce")(reproduce.reproduce)
    root.command("ablate")(reproduce.ablate)
    root.command("sweep")(sweep.sweep)
    return root


app = _app()


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    # Threads that wait by spinning make a small model many times slower as soon as another process wants a core too.
    # The OpenMP runtime reads this when torch loads it, so it must be said before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = app(standalone_mode=False)
    except InputError as error:
        code = _complain(str(error), 2)
    except typer.TyperException as error:
        code = _complain(error.format_message(), 2)
    except (KeyboardInterrupt, typer.Abort):
        code = _complain("interrupted", 130)
    except BrokenPipeError:
        # The reader of our stdout has gone (`| head`): nothing is wrong. Keep the interpreter from flushing into it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str, code: int) -> int:
    print(f"kitipde: {' '.join(message.split())}", file=sys.stderr)
    return code
