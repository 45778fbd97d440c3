"""A small record, damaged in every way there is one of: none is taken for one that nobody has touched."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from gacheck.errors import GacheckError
from gacheck.record.checksum import Integrity
from gacheck.record.journal import RECORD_NAME, load_record, save_record
from gacheck.reporters import reporters
from gacheck.reporters.reporter import View
from gacheck.words.reading import read_record
from tests.builders import attached_run
from tests.torture.outcome import Outcome, gacheck, problem_of

THROUGH_THE_PROGRAM = 100
"""Of so many, one is shown by the program itself, which takes longer."""


def of_bytes(most: int, folder: Path) -> Outcome:
    """Flip bits of every byte, and replace and leave out every byte; `most` of all that."""
    return _damaged(most, folder, _bytes)


def of_digits(most: int, folder: Path) -> Outcome:
    """Change every digit to every other one."""
    return _damaged(most, folder, _digits)


def of_truncations(most: int, folder: Path) -> Outcome:
    """Cut the record off at every length."""
    return _damaged(most, folder, lambda whole: (whole[:length] for length in range(len(whole))))


def _bytes(whole: bytes) -> Iterator[bytes]:
    for place, byte in enumerate(whole):
        for other in {byte ^ 1, byte ^ 0x80, ord("0")} - {byte}:
            yield whole[:place] + bytes([other]) + whole[place + 1 :]
        yield whole[:place] + whole[place + 1 :]


def _digits(whole: bytes) -> Iterator[bytes]:
    for place, byte in enumerate(whole):
        if byte in b"0123456789":
            for other in b"0123456789":
                if other != byte:
                    yield whole[:place] + bytes([other]) + whole[place + 1 :]


def _damaged(most: int, folder: Path, damage: object) -> Outcome:
    outcome = Outcome()
    path = save_record(attached_run("sum_of_means", k=2), folder)
    whole = path.read_bytes()
    every = list(damage(whole))  # type: ignore[operator]
    chosen = every if len(every) <= most else random.Random(0).sample(every, most)
    for number, content in enumerate(chosen):
        with outcome.one(_difference(whole, content)) as problems:
            path.write_bytes(content)
            problems += _taken(path)
            if number % THROUGH_THE_PROGRAM == 0:
                code, out, err = gacheck("report", str(folder))
                problems += [problem_of(code, out + err)]
    return outcome


def _taken(path: Path) -> list[str]:
    """Read and show a record as the program does; say what is wrong about how that ends."""
    try:
        record = load_record(path)
    except GacheckError:
        return []
    problems = ["it is taken for unedited"] if record.integrity is Integrity.WHOLE else []
    try:
        analysis = read_record(record)
        for name in ("terminal", "json"):
            reporters(record.kind)[name].render(analysis, View())
    except (ArithmeticError, LookupError, ValueError):
        pass  # the program makes words of these
    return problems


def _difference(whole: bytes, content: bytes) -> str:
    place = next((i for i, (a, b) in enumerate(zip(whole, content, strict=False)) if a != b), len(content))
    return f"{RECORD_NAME} at byte {place}: {content[max(0, place - 20) : place + 20]!r}"
