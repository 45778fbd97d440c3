"""What the page of a survey shows: a tile for every class under every release, and its row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gacheck.reporters.command import shell_line
from gacheck.reporters.html.verdict import SIGNS
from gacheck.reporters.text import figure
from gacheck.rules.facts import Flag
from gacheck.rules.table import SEVERITY, Severity
from gacheck.words.survey import JudgedRow, SurveyAnalysis
from gacheck.words.surveyed import (
    NO_VERDICT,
    Advice,
    Surveyed,
    advice_of,
    command_of,
    releases_of,
    surveyed,
    why_of,
)

_PLAIN = re.compile(r"[A-Za-z][\w.-]*")
# Short names of classes in the style sheet: they stand in every tile.
_STYLES: dict[Severity | None, str] = {"fail": "f", "warn": "w", "ok": "o", "inconclusive": "q", None: "n"}


@dataclass(frozen=True)
class Mark:
    """A verdict as it is marked: with a sign and two letters, so that colour only helps.

    Attributes:
        style: Its class in the style sheet.
        sign: Of the severity.
        letters: Of the code; the sign where nothing is wrong.
        words: Severity and code.
    """

    style: str
    sign: str
    letters: str
    words: str


@dataclass(frozen=True)
class Tile:
    """A class on the map: where its row is, its name, and its verdict."""

    anchor: str
    name: str
    mark: Mark
    ratio: str


@dataclass(frozen=True)
class Part:
    """The tiles of one task under one release."""

    task: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Cells:
    """A row of a table: a class under one release.

    Attributes:
        reason: Why there is no verdict; empty where there is one.
    """

    release: str
    mark: Mark
    rules: tuple[str, str]
    ratio: str
    place: str
    advice: Advice
    command: str
    reason: str


@dataclass(frozen=True)
class Entry:
    """A class in a table, the newest release first."""

    anchor: str
    name: str
    model_type: str
    task: str
    rows: tuple[Cells, ...]


@dataclass(frozen=True)
class Section:
    """The classes that have one verdict in the newest release that has any."""

    anchor: str
    mark: Mark
    why: str
    entries: tuple[Entry, ...]


def mark_of(code: str | None, severity: Severity | None) -> Mark:
    """Mark a verdict; None is that of a class that has none."""
    if code is None or severity is None:
        return Mark(_STYLES[None], "–", "–", NO_VERDICT)
    sign, word = SIGNS[severity], severity.upper()
    return Mark(_STYLES[severity], sign, letters(code), word if code == word else f"{word} {code}")


def letters(code: str) -> str:
    """Shorten a code to the initials of its first and its last word; what is right or open to a sign."""
    signs = {"OK": SIGNS["ok"], "INCONCLUSIVE": SIGNS["inconclusive"]}
    words = code.split("_")
    return signs.get(code) or words[0][0] + (words[-1][0] if len(words) > 1 else "")


def anchors(classes: Sequence[Surveyed]) -> dict[tuple[str, str], str]:
    """Return where the row of every class is: its name, where that is plain and no other has it."""
    found: dict[tuple[str, str], str] = {}
    taken: set[str] = set()
    for number, each in enumerate(classes):
        item = each.rows[0].item
        wanted = (each.name, f"{each.name}-{item.name}", f"{each.name}-{item.task}")
        anchor = next((name for name in wanted if _PLAIN.fullmatch(name) and name not in taken), f"class-{number}")
        taken.add(anchor)
        found[item.name, item.task] = anchor
    return found


def map_of(analysis: SurveyAnalysis) -> list[tuple[str, list[Part]]]:
    """Lay out the map: the newest release first, in it task by task."""
    classes = surveyed(analysis)
    at = anchors(classes)
    drawn = []
    for release in reversed(releases_of(analysis)):
        parts: dict[str, list[Tile]] = {}
        for each in classes:
            for row in each.rows:
                if row.item.transformers == release:
                    tile = Tile(at[row.item.name, row.item.task], _name(row), _mark(row), figure(row.ratio))
                    parts.setdefault(each.task, []).append(tile)
        drawn.append((release, [Part(task, tuple(tiles)) for task, tiles in parts.items()]))
    return drawn


def legend(analysis: SurveyAnalysis) -> list[tuple[Mark, list[str]]]:
    """Return the verdicts that occur, the gravest first, and how many have each under each release, oldest first."""
    releases = releases_of(analysis)
    return [
        (mark, [str(sum(_mark(row) == mark for row in analysis.of(release))) for release in releases])
        for mark in _in_order({_mark(row): row.code for row in analysis.rows})
    ]


def sections(analysis: SurveyAnalysis) -> list[Section]:
    """Return every class with its rows, under its verdict in the newest release that has one."""
    classes = surveyed(analysis)
    at = anchors(classes)
    found: dict[Mark, list[Surveyed]] = {}
    for each in classes:
        found.setdefault(_mark(each.latest), []).append(each)
    order = _in_order({mark: some[0].latest.code for mark, some in found.items()})
    return [
        Section(
            mark.words.lower().replace(" ", "-"),
            mark,
            why_of(found[mark][0].latest),
            tuple(_entry(each, at, analysis) for each in found[mark]),
        )
        for mark in order
    ]


def _entry(each: Surveyed, at: dict[tuple[str, str], str], analysis: SurveyAnalysis) -> Entry:
    item = each.rows[0].item
    rows = tuple(_cells(row, analysis) for row in reversed(each.rows))
    return Entry(at[item.name, item.task], each.name, each.latest.model_type or item.name, each.task, rows)


def _cells(row: JudgedRow, analysis: SurveyAnalysis) -> Cells:
    on, off = (row.rule(flag) for flag in (Flag.ON, Flag.OFF))
    return Cells(
        release=row.item.transformers,
        mark=_mark(row),
        rules=(_rule(on), _rule(off)),
        ratio=figure(row.ratio),
        place=f"{row.location.file.rsplit('/', 1)[-1]}:{row.location.line}" if row.location else "",
        advice=advice_of(row),
        command=shell_line(command_of(row, analysis)),
        reason=row.reason or "",
    )


def _rule(name: str | None) -> str:
    return (name or "–").replace("_", " ")


def _name(row: JudgedRow) -> str:
    return row.class_name or row.item.name


def _mark(row: JudgedRow) -> Mark:
    return mark_of(row.code, row.severity)


def _in_order(found: dict[Mark, str | None]) -> Iterator[Mark]:
    """Sort marks: by code as they are grave, what is right before the last, what has no verdict at the end."""
    codes = list(SEVERITY)
    return iter(
        sorted(found, key=lambda mark: (codes.index(code) if (code := found[mark]) else len(codes), mark.words))
    )
