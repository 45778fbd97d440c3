"""Holds what `make affected` found against a bare Trainer without gacheck, and writes docs/confirmation.md.

    make confirm                                       every verdict other than OK, and 30 that are OK, at random
    python docs/make_confirmation.py llama 'Qwen*'     of these types and classes alone, on stdout
    python docs/make_confirmation.py --update git      of these alone, in the page in place of what it says of them
    python docs/make_confirmation.py --from RECORD     of another survey

First each model and its rows are saved to a folder, by gacheck, as the survey trained them. Then `bare_trainer.py`, in
which there is nothing of gacheck, trains each from its folder. Both under the release that the verdict is about.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

from gacheck.record.journal import RECORD_NAME, load_survey
from gacheck.record.survey import SurveyItem
from gacheck.releases.environments import python_of
from gacheck.words.survey import JudgedRow, SurveyAnalysis, read_survey

PAGE = Path(__file__).parent / "confirmation.md"
BARE = Path(__file__).parent / "bare_trainer.py"
NUM_RIGHT = 30
MICRO_BATCHES, ROWS = 4, 16
SAME_LOSS, SAME_GRADIENT = 1e-4, 1e-3

FAULTS = {
    "SCALED_BY_ACCUMULATION": ("sum of means",),
    "MEAN_OF_MEANS": ("mean of means",),
    "UNSHIFTED_TOKEN_COUNT": ("tokens / labels",),
    "NOT_NORMALISED": ("sum over tokens",),
    "DIVIDED_TWICE": ("mean over tokens / k", "mean of means / k"),
}
"""Code → what the step has to come to; of other codes, that it is not what is right."""

HEAD = """
Verdicts of [the survey](affected-models.md), of the releases that stand in the table every one other than OK and at
least 30 OKs, against a Trainer with nothing of gacheck around it: `docs/bare_trainer.py` loads the saved model and 16
rows, trains them for one step at k = 1 and at k = 4, with dropout off and the flag as the Trainer chooses it, and
computes by plain torch what the step comes to under each rule, loss and gradient. Ratio: of k = 4 to k = 1. A verdict
is confirmed where the step is what it says, within {loss:g} of the loss and {gradient:g} of the gradient.
"""
NUMBERS = ("loss, k = 1", "loss, k = 4", "ratio", "ratio of gradients")
COLUMNS = ("class", "task", "transformers", "verdict", "flag", *NUMBERS, "the step is", "agrees")


@dataclass(frozen=True)
class Confirmation:
    """A verdict, and what the bare Trainer said.

    Attributes:
        fits: What its step comes to.
        agrees: Whether the verdict says so too; None where it says nothing, or the bare Trainer could not.
    """

    row: JudgedRow
    bare: dict[str, Any]
    fits: tuple[str, ...]
    agrees: bool | None


def chosen(analysis: SurveyAnalysis, names: Sequence[str], task: str | None = None) -> list[JudgedRow]:
    """Return the rows to confirm: all that are not OK, and some that are; or those of these names, or this task."""
    judged = [row for row in analysis.rows if row.code is not None and task in (None, row.item.task)]
    if names:
        return [row for row in judged if any(_is_meant(row, name) for name in names)]
    right = [row for row in judged if row.code == "OK"]
    some = random.Random(0).sample(right, min(NUM_RIGHT, len(right)))
    return [row for row in judged if row.code != "OK"] + some


def _is_meant(row: JudgedRow, name: str) -> bool:
    return any(each is not None and fnmatchcase(each, name) for each in (row.item.name, row.class_name))


# What gacheck has to do with it: the stand-in and its rows, saved.


def save(item: SurveyItem, folder: Path) -> None:
    """Save a model and 16 of its rows as the survey trained them."""
    import torch

    from gacheck.measure.survey.judging import session_of

    model, rows, collate = session_of(item)[1].material
    model.save_pretrained(folder / "model")
    size = ROWS // MICRO_BATCHES
    first = [rows[number] for number in range(ROWS)]
    micro = [collate(first[start : start + size]) for start in range(0, ROWS, size)]
    torch.save({"whole": dict(collate(first)), "micro": [dict(batch) for batch in micro]}, folder / "batches.pt")
    facts = {"module": type(model).__module__, "name": type(model).__name__}
    (folder / "class.json").write_text(json.dumps(facts), encoding="utf-8")


def _save_given(given: tuple[SurveyItem, Path]) -> None:
    save(*given)


def prepare(work: Path, jobs: int, seconds: float) -> None:
    """Save every item of `items.json` to its folder, under the release that runs this."""
    from bare_trainer import in_processes, quiet

    import gacheck.measure.survey.judging  # noqa: F401  # loaded once for all processes

    quiet()
    given = json.loads((work / "items.json").read_text(encoding="utf-8"))
    things = [(SurveyItem(**item), work / number) for number, item in given.items()]
    for _, folder in things:
        folder.mkdir(exist_ok=True)
    for (_, folder), error in in_processes(_save_given, things, jobs, seconds):
        if error is not None:
            (folder / "bare.json").write_text(json.dumps({"expected": {}, "failed": error}), encoding="utf-8")


def ask(rows: Sequence[JudgedRow], jobs: int, seconds: float) -> list[dict[str, Any]]:
    """Return what the bare Trainer says of each row."""
    with tempfile.TemporaryDirectory(prefix="confirmation-") as scratch:
        folders = {row.item.id: Path(scratch) / row.item.transformers / str(n) for n, row in enumerate(rows)}
        for release in dict.fromkeys(row.item.transformers for row in rows):
            work, of_release = Path(scratch) / release, [row for row in rows if row.item.transformers == release]
            work.mkdir()
            items = {folders[row.item.id].name: row.item.model_dump(mode="json") for row in of_release}
            (work / "items.json").write_text(json.dumps(items), encoding="utf-8")
            python = str(python_of(release, lambda text: print(text, file=sys.stderr)))
            limits = ["--jobs", str(jobs), "--time-limit", str(seconds)]
            _run([python, __file__, "--prepare", str(work), *limits])
            ready = [
                str(folders[row.item.id]) for row in of_release if not (folders[row.item.id] / "bare.json").exists()
            ]
            _run([python, str(BARE), *ready])
        return [json.loads((folders[row.item.id] / "bare.json").read_text(encoding="utf-8")) for row in rows]


def _run(command: list[str]) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, stdout=sys.stderr)


# What it says, held against the verdict.


def fitting(bare: dict[str, Any]) -> tuple[str, ...]:
    """Return what the step comes to, by loss and gradient: perhaps several, where they are the same on these rows."""
    if "loss" not in bare:
        return ()
    loss = bare["loss"][1]
    found = [
        name
        for name, expected in bare["expected"].items()
        if _same(loss, expected["loss"]) and expected["gradient_error"] < SAME_GRADIENT
    ]
    same = _same(loss, bare["loss"][0]) and bare["gradient_error"] < SAME_GRADIENT
    return (*found, *(["k = 1"] if same else []))


def _same(loss: float, expected: float) -> bool:
    return math.isclose(loss, expected, rel_tol=SAME_LOSS, abs_tol=1e-6)


def confirm(row: JudgedRow, bare: dict[str, Any]) -> Confirmation:
    """Hold a verdict against what the bare Trainer said."""
    fits = fitting(bare)
    return Confirmation(row, bare, fits, _agrees(row, bare, fits))


def _agrees(row: JudgedRow, bare: dict[str, Any], fits: tuple[str, ...]) -> bool | None:
    if row.severity == "inconclusive" or "failed" in bare:
        return None
    if "error" in bare:
        return row.code == "LOSS_KWARGS_REJECTED"
    # The mean over tokens where the loss is one of these; else what the same rows come to in one batch.
    right = ("mean over tokens" if "mean over tokens" in bare["expected"] else "k = 1") in fits
    if row.code == "OTHER_OBJECTIVE":
        # A mean over rows, of which every micro-batch has as many; or a sum.
        meant = ("sum of means",) if bare["adds_up"] else ("mean of means", "mean over labels")
        return right or any(name in fits for name in meant)
    if row.severity == "ok":
        return right
    if row.code == "NONFINITE":
        return not math.isfinite(bare["loss"][1])
    wanted = FAULTS.get(row.code or "")
    return any(name in fits for name in wanted) and not right if wanted else not right


Cells = tuple[str, ...]
"""A line of the table."""
CODE, SAYS = COLUMNS.index("verdict"), COLUMNS.index("agrees")
YES, NO, OPEN = "yes", "**no**", "open"


def page(lines: Sequence[Cells], task: str | None = None) -> str:
    """Render docs/confirmation.md."""
    scope = f" Of the classes of {task} alone; the others have yet to be tried." if task else ""
    says = Counter(line[SAYS] for line in lines)
    rendered = [
        "<!-- Made by docs/make_confirmation.py: run  make confirm  instead of editing. -->",
        "",
        "# Does a bare Trainer say the same?",
        "",
        *textwrap.wrap(HEAD.strip().format(loss=SAME_LOSS, gradient=SAME_GRADIENT) + scope, 118),
        "",
        f"**{says[YES]} of {says[YES] + says[NO]} agree.** {says[OPEN]} more say nothing that could be confirmed.",
        "",
        "| verdict | confirmed | not | open |",
        "| --- | ---: | ---: | ---: |",
        *_counts(lines),
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"| {' | '.join('---:' if name in NUMBERS else '---' for name in COLUMNS)} |",
        *(f"| {' | '.join(line)} |" for line in sorted(lines, key=_order)),
    ]
    return "\n".join(rendered) + "\n"


def lines_of(text: str) -> list[Cells]:
    """Return the lines of the table of an earlier page."""
    found = [tuple(line.strip("| ").split(" | ")) for line in text.splitlines() if line.startswith("| `")]
    return [line for line in found if len(line) == len(COLUMNS)]


def updated(earlier: Sequence[Cells], new: Sequence[Cells]) -> list[Cells]:
    """Put lines in place of those of the same classes, tasks and releases."""
    tried = {line[:CODE] for line in new}
    return [line for line in earlier if line[:CODE] not in tried] + list(new)


def _order(line: Cells) -> tuple[object, ...]:
    """Sort what does not agree before what is open, and that before what agrees."""
    return [NO, OPEN, YES].index(line[SAYS]), line[CODE], line


def _counts(lines: Sequence[Cells]) -> list[str]:
    counted = Counter((line[CODE], line[SAYS]) for line in lines)
    codes = sorted({line[CODE] for line in lines})
    return [f"| {code} | {' | '.join(str(counted[code, says]) for says in (YES, NO, OPEN))} |" for code in codes]


def line_of(each: Confirmation) -> Cells:
    """Write a line of the table."""
    row, bare = each.row, each.bare
    if "loss" in bare:
        (first, loss), (norm, grown) = bare["loss"], bare["norm"]
        flag = "on" if bare["flag"] else "off"
        figures = [flag, f"{first:.4f}", f"{loss:.4f}", _ratio(loss, first), _ratio(grown, norm)]
        step = ", ".join(each.fits) or "none of these"
    else:
        figures, step = ["–"] * 5, f"`{str(bare.get('error') or bare.get('failed'))[:90].replace('|', '/')}`"
    says = {True: YES, False: NO, None: OPEN}[each.agrees]
    return (f"`{row.class_name}`", row.item.task or "–", row.item.transformers, str(row.code), *figures, step, says)


def _ratio(value: float, of: float) -> str:
    return f"{value / of:.4f}" if of else "–"


def main() -> None:
    """Confirm, and write."""
    from make_affected import cache

    parser = argparse.ArgumentParser(description="Hold a survey against a bare Trainer.")
    parser.add_argument("names", nargs="*", help="these types and classes alone, on stdout")
    parser.add_argument("--from", dest="record", type=Path, default=cache(), help="a survey's folder, or its record")
    parser.add_argument("--task", help="the classes of this task alone")
    parser.add_argument("--update", action="store_true", help="put what is tried into the page, and leave the rest")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--time-limit", type=float, default=120, help="seconds for each")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare is not None:
        prepare(options.prepare, options.jobs, options.time_limit)
        return
    path = options.record / RECORD_NAME if options.record.is_dir() else options.record
    rows = chosen(read_survey(load_survey(path)), options.names, options.task)
    told = ask(rows, options.jobs, options.time_limit)
    confirmations = [confirm(row, bare) for row, bare in zip(rows, told, strict=True)]
    lines = [line_of(each) for each in confirmations]
    if options.names and not options.update:
        print(page(lines))
    else:
        lines = updated(lines_of(PAGE.read_text(encoding="utf-8")), lines) if options.update else lines
        PAGE.write_text(page(lines, options.task), encoding="utf-8")
        print(PAGE)
    sys.exit(1 if any(each.agrees is False for each in confirmations) else 0)


if __name__ == "__main__":
    main()
