"""Writes the reference of all commands from their own help: `python docs/commands.py > docs/reference/commands.md`."""

from collections.abc import Iterator
from typing import Any

import typer

from kitipde.cli import app

_INTRODUCTION = """# Commands

Results go to stdout (a table for people, JSON with `--json`), progress, remarks and `wrote FILE (SIZE)` to stderr.
Tables are as wide as the terminal (or as the variable COLUMNS says) and never break a number.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | an internal failure: a traceback, please report it |
| 2 | what was given is wrong: one line says what, and what is allowed; nothing was written |
| 130, 143 | stopped by Ctrl-C, or by SIGTERM (a scheduler): the same command, or `--resume`, continues |

`kitipde` and `kitipde generate|import|export` alone print their help, and so does `-h` after any verb.
`kitipde --install-completion` sets up the Tab key for verbs, options, networks and shipped configurations in bash, zsh
or fish; `--show-completion` prints what it would install.
"""


def _reference(name: str, command: Any) -> Iterator[str]:
    """Markdown of a command, or of all commands of a group."""
    if hasattr(command, "commands"):
        for verb, below in command.commands.items():
            yield from _reference(f"{name} {verb}", below)
        return
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    words = "".join(f" {each.name.upper()}{'…' if each.nargs == -1 else ''}" for each in arguments)
    yield f"\n## {name}\n\n{command.help.strip()}\n\n```text\n{name}{words} [OPTIONS]\n```\n"
    yield "| argument, option | meaning | default |\n|---|---|---|"
    for each in arguments:
        yield f"| `{each.name.upper()}` | {each.help or ''} | |"
    for each in options:
        spelled = " / ".join(f"`{text}`" for text in (*each.opts, *each.secondary_opts))
        yield f"| {spelled} | {(each.help or '').replace('|', chr(92) + '|')} | {_default(each)} |"


def _default(option: Any) -> str:
    if option.required:
        return "must be given"
    if isinstance(option.show_default, str):
        return option.show_default
    if option.default is None or option.default is False or option.default == "":
        return ""
    return "on" if option.default is True else f"`{option.default}`"


if __name__ == "__main__":
    print(_INTRODUCTION)
    print("\n".join(_reference("kitipde", typer.main.get_command(app))))
