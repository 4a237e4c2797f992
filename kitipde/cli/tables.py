"""Tables in a terminal: as wide as it is, and no number broken.

Columns of words are folded first; a header may be folded, too. What is still too wide is shown in pieces, one below
the other, each with the first column.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["table_lines"]

_GAP = "  "
_NARROWEST = 8
"""Columns that a column of words keeps."""


@dataclass(frozen=True)
class _Column:
    name: str
    cells: tuple[str, ...]
    words: bool

    @property
    def widest(self) -> int:
        return max(map(_width, (self.name, *self.cells)))

    @property
    def narrowest(self) -> int:
        """Numbers stay whole; words, and names of columns, may be folded."""
        if not self.words:
            return max(map(_width, (*self.cells, *self.name.split(), "")))
        return min(_NARROWEST, self.widest)


def table_lines(
    header: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[int] = (0,), width: int = 80
) -> list[str]:
    """A table as lines of text.

    Args:
        header: names of the columns; none is shown if all are empty.
        rows: cells.
        texts: columns of words, on the left; the others hold numbers, on the right.
        width: of the terminal. Only a piece of the first column and a single other one may be wider, if it has to.
    """
    columns = [_Column(name, tuple(row[place] for row in rows), place in texts) for place, name in enumerate(header)]
    lines: list[str] = []
    for piece in _pieces(columns, width):
        lines += [*([""] if lines else []), *_piece_lines(piece, _widths(piece, width))]
    return lines


def _pieces(columns: Sequence[_Column], width: int) -> Iterator[list[_Column]]:
    """The columns, as many at a time as the width can hold, behind the first."""
    first, *others = columns
    piece = [first]
    for column in others:
        if len(piece) > 1 and _total([each.narrowest for each in (*piece, column)]) > width:
            yield piece
            piece = [first]
        piece.append(column)
    yield piece


def _widths(columns: Sequence[_Column], width: int) -> list[int]:
    """As wide as the contents; what is too much is taken from the widest that can give, a character at a time."""
    widths = [column.widest for column in columns]
    narrowest = [column.narrowest for column in columns]
    while _total(widths) > width:
        able = [place for place, each in enumerate(widths) if each > narrowest[place]]
        if not able:
            break
        # Names of columns are folded before words are.
        names = [place for place in able if not columns[place].words]
        widths[max(names or able, key=lambda place: widths[place])] -= 1
    return widths


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _piece_lines(columns: Sequence[_Column], widths: Sequence[int]) -> Iterator[str]:
    if any(column.name for column in columns):
        yield from _row_lines([column.name for column in columns], columns, widths, bottom=True)
        yield "─" * _total(widths)
    for number in range(len(columns[0].cells)):
        yield from _row_lines([column.cells[number] for column in columns], columns, widths)


def _row_lines(
    cells: Sequence[str], columns: Sequence[_Column], widths: Sequence[int], *, bottom: bool = False
) -> Iterator[str]:
    """A row, which has several lines where words are folded."""
    folded = [_folded(cell, width) for cell, width in zip(cells, widths, strict=True)]
    height = max(map(len, folded))
    for line in range(height):
        parts = []
        for lines, column, width in zip(folded, columns, widths, strict=True):
            place = line - (height - len(lines)) if bottom else line
            text = lines[place] if 0 <= place < len(lines) else ""
            space = " " * (width - _width(text))
            parts.append(text + space if column.words else space + text)
        yield _GAP.join(parts).rstrip()


def _folded(text: str, width: int) -> list[str]:
    """Broken at spaces where there are any, else anywhere."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if _width(joined) <= width:
            lines[-1] = joined
            continue
        *full, rest = _cut(word, width)
        lines += [*full, rest]
    return [line for line in lines if line] or [""]


def _cut(word: str, width: int) -> list[str]:
    """A word in pieces of a width, behind a separator where there is one in the second half of a piece."""
    pieces = []
    while _width(word) > width:
        end = 0
        while _width(word[: end + 1]) <= width and end < len(word):
            end += 1
        end = max(end, 1)
        separators = [place + 1 for place in range(end // 2, end) if word[place] in "/.-_,"]
        end = separators[-1] if separators else end
        pieces.append(word[:end])
        word = word[end:]
    return [*pieces, word]


def _width(text: str) -> int:
    """Columns of a terminal, of which Chinese and Japanese characters take two."""
    from rich.cells import cell_len

    return cell_len(text)
