"""Compares what `gacheck lint` reads with what a survey measured, and prints the rows of the table in docs/lint.md.

    gacheck survey --all --json > survey.json
    python docs/make_lint_agreement.py survey.json

A survey of several releases gives a row for each. The sources of a release that is not installed are those of the
environment in which the survey measured it (`gacheck releases`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gacheck.lint.agreement import Agreement, compare
from gacheck.lint.lint import lint
from gacheck.releases.cache import folder_of

HEAD = """\
| transformers | measured | decided | agree | said to use the count, and drops it | not decided | nothing counted |
|---|---|---|---|---|---|---|"""


def sources_of(release: str) -> Path | None:
    """Return the folder of a release's sources; None where it is the installed one.

    Raises:
        SystemExit: It is nowhere on this machine.
    """
    if release == metadata.version("transformers"):
        return None
    found = next(folder_of(release).glob("lib/python*/site-packages/transformers"), None)
    if found is None:
        sys.exit(f"transformers {release} is not here; measure it first:  gacheck survey --transformers {release}")
    return found


def measured(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str | None]]:
    """Yield every class once, with the rule that its losses follow with the flag on."""
    known = {str(row["class"]): row["rule_on"] for row in rows if row["class"] is not None}
    yield from known.items()


def agreement(release: str, rows: Iterable[dict[str, Any]]) -> Agreement:
    """Read the classes of a release that were measured, and compare."""
    read = {each.class_name: each for each in lint(root=sources_of(release)).findings}
    return compare(read, measured(rows))


def line(release: str, found: Agreement) -> str:
    """Write a row of the table."""
    total = found.decided + len(found.undecided) + len(found.uncounted)
    share = "–" if found.share is None else f"{len(found.agreeing)} ({found.share:.1%})"
    cells = (release, total, found.decided, share, len(found.wrongly_reaches), len(found.undecided))
    return "| " + " | ".join(map(str, (*cells, len(found.uncounted)))) + " |"


def main() -> None:
    """Print the table, and every class that was read wrongly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("surveys", nargs="+", type=Path, help="what gacheck survey --json printed")
    rows = [row for path in parser.parse_args().surveys for row in json.loads(path.read_text("utf-8"))["rows"]]
    print(HEAD)
    wrong = []
    for release in dict.fromkeys(row["transformers"] for row in rows):
        found = agreement(release, [row for row in rows if row["transformers"] == release])
        print(line(release, found))
        wrong += [f"{release} {each.class_name}: {each.read}, measured {each.measured}" for each in found.disagreeing]
    print("\n".join(wrong))


if __name__ == "__main__":
    main()
