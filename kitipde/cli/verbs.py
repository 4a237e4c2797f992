"""How groups of commands behave: help where no verb is given, verbs in panels, exit codes of a stopped command."""

import sys
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

from kitipde.errors import Terminated

__all__ = ["Root", "Verbs"]

_WHOLE = 200
"""Characters: the first sentence of a verb's help is never cut short."""


class Verbs(TyperGroup):
    """A group of commands that shows its help where no verb is given.

    Attributes:
        panels: names of verbs under the headings of the help; none for one list of all.
    """

    panels: ClassVar[dict[str, tuple[str, ...]]] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Without a verb the help is the answer: on stdout, exit code 0."""
        # While a shell completes a line, nothing may be printed.
        return super().parse_args(ctx, args if args or ctx.resilient_parsing else ["--help"])

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """One section for each panel."""
        panels = self.panels or {"Commands": tuple(self.commands)}
        # One width for all of them: a list is as wide as its own first column.
        widest = max(map(len, self.commands), default=0)
        for panel, names in panels.items():
            with formatter.section(panel):
                formatter.write_dl([(name.ljust(widest), self.description(name)) for name in names])

    def description(self, name: str) -> str:
        """What the list of verbs says about one."""
        return self.commands[name].get_short_help_str(_WHOLE)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb.

        Raises:
            typer.Exit: with 130 after Ctrl-C and 143 after SIGTERM, as a shell has it of processes that end so.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            terminated = isinstance(error, Terminated)
            print(f"kitipde: {'terminated' if terminated else 'interrupted'}", file=sys.stderr)
            raise typer.Exit(143 if terminated else 130) from error


class Root(Verbs):
    """All verbs, in the order in which a user meets them."""

    panels: ClassVar[dict[str, tuple[str, ...]]] = {
        "Start here": ("demo",),
        "Data": ("generate", "import", "info", "export"),
        "Training": ("models", "train", "runs"),
        "Judging": ("evaluate", "compare", "report", "predict"),
        "Studies": ("reproduce", "ablate", "pool", "sweep", "condense"),
    }

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # typer has groups of commands behind single ones.
        self.commands = {name: self.commands[name] for names in self.panels.values() for name in names}
