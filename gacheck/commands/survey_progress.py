"""The progress of a survey on stderr: on a terminal a live table of verdicts over a bar, elsewhere a line a class."""

from __future__ import annotations

from collections import Counter

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gacheck.commands.progress import LiveProgress
from gacheck.record.survey import SurveyItem
from gacheck.reporters.text import HEADS, figure
from gacheck.rules.table import SEVERITY_RANK, Severity
from gacheck.words.survey import JudgedRow

_COLORS: dict[Severity, str] = {"fail": "red", "warn": "yellow", "ok": "green", "inconclusive": "cyan"}
NO_VERDICT = "no verdict"


class SurveyProgress(LiveProgress):
    """Counts the verdicts so far, and says which classes are being judged."""

    def __init__(self, *, quiet: bool) -> None:
        self._counts: Counter[tuple[int, str, str]] = Counter()
        self._running: dict[str, str] = {}
        self._num_done = self._num_items = 0
        super().__init__("classes", quiet=quiet)

    def items(self, number: int, already: int) -> None:
        """Announce how many are to come, and how many an earlier survey has judged already."""
        self._num_done, self._num_items = already, already + number
        self.total(number)

    def started(self, item: SurveyItem) -> None:
        """Note that an item is being judged."""
        self._running[item.id] = item.name
        self.stage(", ".join(self._running.values()))

    def done(self, row: JudgedRow) -> None:
        """Count a row."""
        self._running.pop(row.item.id, None)
        self._num_done += 1
        severity = row.severity
        label = row.code or NO_VERDICT
        self._counts[SEVERITY_RANK[severity] if severity else 9, label, _COLORS[severity] if severity else ""] += 1
        self.advance()
        said = f"{HEADS[severity]} {label}" if severity not in (None, "ok") and severity else label
        ratio = f", {figure(row.ratio)} of the right loss" if row.severity in ("warn", "fail") and row.ratio else ""
        name = row.item.name if row.class_name in (None, row.item.name) else f"{row.item.name} {row.class_name}"
        self.line(f"{self._num_done} of {self._num_items}  {name}  {said}{ratio}, {row.seconds:.1f} s")

    def above(self) -> RenderableType:
        """Return the table of verdicts so far."""
        table = Table.grid(padding=(0, 2))
        for (_, label, color), number in sorted(self._counts.items()):
            table.add_row(Text(label, style=color), str(number))
        return Group(table) if self._counts else Group()
