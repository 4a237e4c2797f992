"""The parts of a report, independent of how it is written down."""

import base64
from dataclasses import dataclass

__all__ = ["Cell", "Listing", "Page", "Picture", "Section", "Table", "Verdict"]


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what is shown.
        order: what rows are sorted by; None sorts by the text.
    """

    text: str
    order: float | None = None


@dataclass(frozen=True)
class Table:
    """A table that sorts.

    Attributes:
        caption: what it shows.
        header: names of the columns; the first column names the row.
        rows: cells.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        name: of its file, without the ending.
        caption: what it shows and how to read it.
        alt: what a reader who cannot see it should know.
        data: content of a PNG or GIF file.
        kind: "png" or "gif".
    """

    name: str
    caption: str
    alt: str
    data: bytes
    kind: str = "png"

    @property
    def base64(self) -> str:
        """The content as text for a data URI."""
        return base64.b64encode(self.data).decode("ascii")

    @property
    def wide(self) -> bool:
        """Whether its labels are too small to read when it is shrunk to the width of a phone."""
        if self.kind == "gif":
            return int.from_bytes(self.data[6:8], "little") > 900
        # A PNG begins with its signature and the header chunk, whose first number is the width.
        return int.from_bytes(self.data[16:20], "big") > 900


@dataclass(frozen=True)
class Listing:
    """A text shown on demand, such as a configuration."""

    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    anchor: str
    title: str
    text: str = ""
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    listings: tuple[Listing, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The answer to one comparison.

    Attributes:
        question: what was compared.
        answer: the verdict in words.
        details: ratio, interval, test, remarks: a line each.
        tone: "better" or "worse" (the compared run against the reference), or "open".
        picture: the same as a figure; none where nothing could be compared.
    """

    question: str
    answer: str
    details: tuple[str, ...]
    tone: str
    picture: Picture | None = None


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        title: what is compared with what.
        facts: what was learnt from what, as names and texts.
        picture: one sample as the networks see it.
        verdicts: one for each run but the reference.
        sections: everything else.
        footer: who wrote it, and when.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    picture: Picture | None
    verdicts: tuple[Verdict, ...]
    sections: tuple[Section, ...]
    footer: str
