"""Measures how often gacheck is wrong, and writes docs/accuracy.md.

    make accuracy                          2,000 trials, half of them right: about twenty minutes on two cores
    make accuracy RUNS=50                  a quick look, on stdout; nothing is written below 2,000
    python docs/make_accuracy.py --seed 7  repeats one trial, and says its truth and its verdict

A trial is a training drawn at random (`tests/trials`). Its truth is that of a bare Trainer held against plain torch, in
which gacheck has no part. Even seeds draw right trainings, odd ones wrong ones.
"""

from __future__ import annotations

import argparse
import gc
import math
import multiprocessing
import os
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
import transformers

from gacheck.record.environment import read_environment
from tests.trials.faults import FAULTS
from tests.trials.judging import (
    EXCEPTION,
    FALSE_ALARM,
    INCONCLUSIVE,
    MISS,
    WRONG_CAUSE,
    Trial,
    UnsoundTrial,
    try_seed,
)
from tests.trials.objectives import OBJECTIVES

PAGE = Path(__file__).parent / "accuracy.md"
WRITTEN_FROM = 2000
CONFIDENCE = 0.95
SEEDS_LISTED = 12

Of = Callable[[Trial], str]


def upper_bound(events: int, trials: int) -> float:
    """Return the one-sided Clopper-Pearson bound on a rate, at 95 %; with no event, about three in so many."""
    if events >= trials:
        return 1.0

    def probability_of_so_few(rate: float) -> float:
        return sum(
            math.exp(
                math.lgamma(trials + 1)
                - math.lgamma(n + 1)
                - math.lgamma(trials - n + 1)
                + n * math.log(rate)
                + (trials - n) * math.log1p(-rate)
            )
            for n in range(events + 1)
        )

    low, high = events / trials, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if probability_of_so_few(middle) > 1 - CONFIDENCE else (low, middle)
    return high


def prepare() -> None:
    """Make a process ready for trials."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    # A Trainer collects garbage now and then, over all that the libraries hold: that takes longer than a trial.
    gc.collect()
    gc.freeze()


def try_or_tell(seed: int) -> Trial | str:
    """Do a trial; a trial that is none is told in words."""
    try:
        return try_seed(seed)
    except UnsoundTrial as error:
        return str(error)


def all_trials(seeds: Sequence[int], jobs: int) -> Iterator[Trial | str]:
    """Do them all, in several processes, in any order."""
    if jobs == 1:
        prepare()
        yield from map(try_or_tell, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, initializer=prepare) as pool:
        yield from pool.imap_unordered(try_or_tell, seeds, chunksize=4)


def collected(outcomes: Iterable[Trial | str], total: int) -> tuple[list[Trial], list[str]]:
    """Collect trials, and say on stderr how far they are."""
    trials, unsound, started = [], [], time.perf_counter()
    for outcome in outcomes:
        if isinstance(outcome, str):
            unsound.append(outcome)
        else:
            trials.append(outcome)
        done = len(trials) + len(unsound)
        if done % 50 == 0 or done == total:
            kinds = Counter(trial.outcome for trial in trials)
            said = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
            print(f"{done} of {total}, {time.perf_counter() - started:.0f} s: {said}", file=sys.stderr, flush=True)
    return sorted(trials, key=lambda trial: trial.seed), unsound


def is_right(trial: Trial) -> bool:
    """Whether the training is."""
    return trial.draw.fault is None


def page(trials: Sequence[Trial], unsound: Sequence[str]) -> str:
    """Render docs/accuracy.md."""
    right, wrong = [t for t in trials if is_right(t)], [t for t in trials if not is_right(t)]
    packages = read_environment().packages
    lines = [
        "<!-- Made by docs/make_accuracy.py: run  make accuracy  instead of editing. -->",
        "",
        "# How often is it wrong?",
        "",
        f"Measured by `make accuracy` with transformers {packages['transformers']}, torch {packages['torch']}, CPU:",
        f"{len(right):,} right trainings and {len(wrong):,} wrong ones, drawn at random: {len(OBJECTIVES)} objectives,",
        f"{len(FAULTS)} faults, many models, kinds of rows, precisions, k. What is right is computed by a bare Trainer",
        "beside plain torch, without gacheck: the loss that is logged and the gradient of every parameter, over two",
        "optimizer steps, against the objective's right step in closed form. A fault without effect on its data is",
        "drawn anew. `python docs/make_accuracy.py --seed N` repeats a trial.",
        "",
        "Bounds are one-sided, 95 %. False alarm: a right training that is warned of or failed. Miss: a wrong one that",
        "is ok. Wrong cause: another code than the fault's, or another answer to what is affected, log or gradient.",
        "",
        "| | trials | share | upper bound |",
        "| --- | ---: | ---: | ---: |",
        *(
            _rate(what, Counter(t.outcome for t in some)[kind], len(some))
            for some, kind, what in (
                (right, FALSE_ALARM, "right: false alarm"),
                (right, INCONCLUSIVE, "right: INCONCLUSIVE"),
                (right, EXCEPTION, "right: exception"),
                (wrong, MISS, "wrong: miss"),
                (wrong, WRONG_CAUSE, "wrong: found, wrong cause"),
                (wrong, INCONCLUSIVE, "wrong: INCONCLUSIVE"),
                (wrong, EXCEPTION, "wrong: exception"),
            )
            if some
        ),
        "",
        *(["Trials that contradict themselves:", "", *(f"- {each}" for each in unsound), ""] if unsound else []),
        "## Right trainings",
        "",
        *_table("objective", right, lambda t: t.draw.objective),
        *_conditions(right),
        "## Wrong trainings",
        "",
        *_table("class of fault", wrong, lambda t: FAULTS[t.draw.fault or ""].group),
        *_table("fault", wrong, lambda t: t.draw.fault or ""),
        *_table("objective", wrong, lambda t: t.draw.objective),
        *_conditions(wrong),
        "## What went wrong",
        "",
        *_listing(trials),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _conditions(trials: Sequence[Trial]) -> list[str]:
    return [
        *_table("model", trials, lambda t: t.draw.body),
        *_table("rows", trials, lambda t: t.draw.data),
        *_table("precision", trials, lambda t: t.draw.precision),
        *_table("door", trials, lambda t: t.draw.door),
        *_table("k", trials, lambda t: str(t.draw.k)),
    ]


def _table(title: str, trials: Sequence[Trial], of: Of) -> list[str]:
    """Count what trials came to, by one of their conditions; the bound is that of accusing or missing."""
    if not trials:
        return []
    grave = FALSE_ALARM if is_right(trials[0]) else MISS
    kinds = [grave, *([] if is_right(trials[0]) else [WRONG_CAUSE]), INCONCLUSIVE, EXCEPTION]
    groups: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[of(trial)].append(trial)
    lines = [
        f"| {title} | trials | {' | '.join(kinds)} | {grave}: upper bound |",
        f"| --- | ---: |{' ---: |' * len(kinds)} ---: |",
    ]
    for name in sorted(groups, key=lambda each: (each.isdigit() and int(each), each)):
        counted = Counter(t.outcome for t in groups[name])
        bound = upper_bound(counted[grave], len(groups[name]))
        lines.append(
            f"| {name} | {len(groups[name]):,} | {' | '.join(str(counted[kind]) for kind in kinds)} | {bound:.1%} |"
        )
    return [*lines, ""]


def _rate(what: str, events: int, trials: int) -> str:
    return f"| {what} | {events} of {trials:,} | {events / trials:.2%} | {upper_bound(events, trials):.2%} |"


def _listing(trials: Sequence[Trial]) -> list[str]:
    """List what went otherwise, by kind, with the seeds that repeat it."""
    kinds: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for trial in trials:
        if not trial.found:
            subject = trial.draw.fault or trial.draw.objective
            said = f"{trial.code} ({trial.affects})" if trial.code else trial.said
            kinds[trial.outcome, subject, said].append(trial.seed)
    if not kinds:
        return ["Nothing."]
    lines = []
    for (outcome, subject, said), seeds in sorted(kinds.items()):
        more = f" and {len(seeds) - SEEDS_LISTED} more" if len(seeds) > SEEDS_LISTED else ""
        listed = ", ".join(map(str, seeds[:SEEDS_LISTED]))
        lines.append(f"- {outcome}: {subject}: {said}: seed {listed}{more}")
    return lines


def told(trial: Trial) -> str:
    """Render one trial."""
    lines = [f"{name}: {value}" for name, value in vars(trial.draw).items()]
    lines += ["", f"truth: {trial.truth.label}, affects {trial.truth.affects}"]
    for number, step in enumerate(trial.truth.steps, 1):
        lines += [
            f"  step {number}, {step.num_micro_batches} micro-batches: logs {step.logged:.8g}, right {step.right:.8g}",
            f"    gradient off by {step.gradient_error:.3g}, at most {step.parameter_error:.3g} in {step.parameter}",
        ]
    if trial.draw.fault is not None:
        fault = FAULTS[trial.draw.fault]
        lines.append(f"  named by {', '.join(sorted(fault.codes))}, affects {fault.affects}")
    lines += ["", f"verdict: {trial.code} (affects {trial.affects}): {trial.said}", f"outcome: {trial.outcome}"]
    return "\n".join(lines)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure how often gacheck is wrong.")
    parser.add_argument("runs", nargs="?", type=int, default=WRITTEN_FROM, help="trials, half of them right")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, help="repeat one trial")
    options = parser.parse_args()
    if options.seed is not None:
        prepare()
        print(told(try_seed(options.seed)))
        return
    trials, unsound = collected(all_trials(range(options.runs), options.jobs), options.runs)
    text = page(trials, unsound)
    if options.runs >= WRITTEN_FROM:
        PAGE.write_text(text, encoding="utf-8")
        print(PAGE)
    else:
        print(text)
    sys.exit(1 if unsound else 0)


if __name__ == "__main__":
    main()
