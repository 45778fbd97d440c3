"""Measures classes with the installed library and with a changed copy of it, each in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from upstream_plan import BESIDES

from gacheck.config import RunConfig
from gacheck.record.run import RunRecord
from gacheck.record.survey import SurveyItem, SurveyRow
from gacheck.words.survey import judge_row

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "gacheck-runs" / "upstream"
BEFORE, AFTER = "before", "after"
WHICH = "GACHECK_UPSTREAM"
"""Tells the measuring processes which of the two libraries they have."""
ACCUMULATION_STEPS = (1, 2, 4, 8)
TIME_LIMIT, MEMORY_LIMIT = 240.0, 4 << 30
TIMED_OUT = "It was not done within"


@dataclass(frozen=True)
class Row:
    """What was measured of a class.

    Attributes:
        name: Of the class.
        code: Of the verdict; None where there is none.
        ratio: Reported loss over the right one, at the largest k.
        loss: Reported at k = 1.
        right: What it should be there.
        reason: Why there is no verdict.
    """

    name: str
    code: str | None = None
    ratio: float | None = None
    loss: float | None = None
    right: float | None = None
    reason: str | None = None


def measure(names: Sequence[str], which: str, jobs: int) -> None:
    """Measure classes with the library that is imported here; add a line to a file for each."""
    from gacheck.measure.survey.catalogue import find_items
    from gacheck.measure.survey.pool import Limits, judge_all

    plain = {name: name.partition(", ")[0] for name in names}
    found = {item.class_name or item.name: item for item in find_items([*plain.values()], absent_ok=True)}
    # A worker learns by the name which options are meant.
    chosen = [found[plain[name]].model_copy(update={"class_name": name}) for name in names if plain[name] in found]
    for row in judge_all(chosen, Limits(TIME_LIMIT, MEMORY_LIMIT, jobs), judge=judge):
        judged = judge_row(row)
        passes = judged.analysis.passes if judged.analysis else ()
        firsts = {each.accumulation_steps: each.first for each in passes if each.first}
        first, last = firsts.get(ACCUMULATION_STEPS[0]), firsts.get(ACCUMULATION_STEPS[-1])
        line = Row(
            name=row.item.class_name or row.item.name,
            code=judged.code,
            ratio=last.ratio if last else None,
            loss=first.reported_loss if first else None,
            right=first.reference_loss if first else None,
            reason=judged.reason,
        )
        with (MEASURED / f"{which}.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(line)) + "\n")


def judge(item: SurveyItem) -> SurveyRow:
    """Train an item at every k, the flag as the Trainer chooses it."""
    from gacheck.measure.survey.judging import judge as judge_by

    return judge_by(item, train)


def train(item: SurveyItem) -> RunRecord:
    """Train an item's stand-in for two steps at every k."""
    from gacheck.measure.experiment import begin_record, run_passes
    from gacheck.measure.session import Session
    from gacheck.measure.survey.judging import named_task

    # A fault is seen at one k; that there is none is seen at every k.
    steps = ACCUMULATION_STEPS if os.environ[WHICH] == AFTER else (ACCUMULATION_STEPS[0], ACCUMULATION_STEPS[-1])
    options = {"gradient_accumulation_steps": steps, "max_steps": 2}
    _, besides = BESIDES.get(item.class_name, ("", {}))
    config = RunConfig(model=f"tiny:{item.name}", task=named_task(item), **options, **besides).experiment()
    session = Session(config)
    record = begin_record(config.model_copy(update={"loss_kwargs": (session.auto_loss_kwargs(),)}), session)
    return run_passes(record, lambda spec: session.run_pass(spec, record.oracle, lambda: None), lambda saved: None)


def measured(which: str) -> dict[str, Row]:
    """Return what was measured so far; what ran out of time on a busy machine is measured again."""
    path = MEASURED / f"{which}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = (Row(**json.loads(line)) for line in lines)
    return {row.name: row for row in rows if not (row.reason or "").startswith(TIMED_OUT)}


def measure_both(names: Sequence[str], copy: Path, jobs: int) -> None:
    """Measure what is not measured yet, with both libraries beside each other."""
    MEASURED.mkdir(parents=True, exist_ok=True)
    running = []
    for which, paths in ((BEFORE, [ROOT]), (AFTER, [copy, ROOT])):
        missing = [name for name in names if name not in measured(which)]
        if missing:
            path = os.pathsep.join(map(str, paths))
            environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", WHICH: which}
            options = ["--measure", which, "--jobs", str(jobs)]
            command = [sys.executable, str(ROOT / "docs" / "make_upstream.py"), *options, *missing]
            running.append(subprocess.Popen(command, env=environment))
    for process in running:
        if process.wait():
            sys.exit(f"measuring ended with {process.returncode}")
