"""Cases in a process of their own, so that a crash, a hang or a bomb is a failure of one case and not of the tests."""

import io
import json
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from multiprocessing.context import ForkServerContext
from pathlib import Path

from kitipde.errors import InputError, out_of_memory

__all__ = ["Case", "command", "one_line", "run_cases", "spoilt"]

Case = Callable[[random.Random, Path], None]
"""Does something wild, drawn from the random numbers, in an empty folder; raises if the outcome is not right."""

# A process that says nothing for so long hangs; and what it may take of memory beyond what it has at its start.
PATIENCE, MEMORY = 120.0, 3 << 30


def run_cases(context: ForkServerContext, case: Case, count: int) -> list[str]:
    """Run cases 0, 1, …; a process that dies or hangs is replaced, and the case it was at has failed.

    Args:
        context: how processes are started.
        case: a function of a module, or a `functools.partial` of one.
        count: how many.

    Returns:
        Descriptions of the failures.
    """
    with tempfile.TemporaryDirectory() as name:
        record = Path(name) / "record"
        first = 0
        failures: list[str] = []
        while first < count:
            process = context.Process(target=_work, args=(case, first, count, record))
            process.start()
            last, since = None, time.monotonic()
            while process.is_alive():
                process.join(0.2)
                state = record.stat().st_size if record.exists() else 0
                if state != last:
                    last, since = state, time.monotonic()
                elif time.monotonic() - since > PATIENCE:
                    process.kill()
                    process.join()
            lines = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
            failures += [f"case {number}: {text}" for number, text in lines if text]
            reached = lines[-1][0] if lines else first
            if process.exitcode != 0:
                failures.append(f"case {reached}: the process ended with {process.exitcode}")
            first = reached + 1 if process.exitcode != 0 else count
            record.unlink(missing_ok=True)
    return failures


def _work(case: Case, first: int, count: int, record: Path) -> None:
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with record.open("a") as file:
        for number in range(first, count):
            print(json.dumps([number, ""]), file=file, flush=True)
            with tempfile.TemporaryDirectory() as name, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                try:
                    case(random.Random(number), Path(name))
                except Exception:
                    print(json.dumps([number, traceback.format_exc()[-1500:]]), file=file, flush=True)


def one_line(call: Callable[[], object]) -> bool:
    """Whether a call came to its end; if it did not, it said why in a line for people.

    Raises:
        AssertionError: it said so in several lines. Whatever else it raises is not right either.
    """
    try:
        call()
    except InputError as error:
        said = str(error)
    except (MemoryError, RuntimeError) as error:
        # The command line tells this in a line.
        if not out_of_memory(error):
            raise
        return False
    else:
        return True
    assert said, "nothing is said"
    assert "\n" not in said, f"several lines: {said}"
    return False


def command(words: Sequence[object]) -> tuple[int, str, str]:
    """Run a command line in this process; returns its exit code and what it printed.

    Raises:
        AssertionError: it ended otherwise than a command line may end.
    """
    from kitipde.cli import main

    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["kitipde", *(str(word) for word in words)]
    code: object = None
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    told = err.getvalue()
    assert "Traceback" not in told, told[-1000:]
    if code != 0:
        last = told.rstrip("\n").rpartition("\n")[2]
        assert last.startswith("kitipde: "), (code, told[-1000:])
        assert code == 2 or (code == 1 and "out of memory" in last), (code, last)
    return int(str(code)), out.getvalue(), told


def spoilt(chance: random.Random, content: bytes) -> bytes:
    """A content with bits turned, bytes overwritten, cut out, put in or repeated, or an end missing."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 5, 20])):
        if not data:
            break
        place = chance.randrange(len(data))
        length = chance.choice([1, 2, 4, 8, 64, 1000])
        kind = chance.randrange(7)
        if kind == 0:
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[place : place + length] = chance.randbytes(len(data[place : place + length]))
        elif kind == 2:
            data[place : place + length] = bytes(len(data[place : place + length]))
        elif kind == 3:
            data[place : place + length] = b"\xff" * len(data[place : place + length])
        elif kind == 4:
            del data[place : place + length]
        elif kind == 5:
            data[place:place] = data[chance.randrange(len(data)) :][:length]
        elif chance.random() < 0.3:
            del data[place:]
        else:
            # Numbers in texts.
            with suppress(StopIteration):
                digit = next(at for at in range(place, len(data)) if chr(data[at]).isdigit())
                data[digit : digit + 1] = chance.choice([b"-1", b"1e999", b"9" * 400, b"null", b'"x"', b"[]", b"0.5"])
    return bytes(data)
