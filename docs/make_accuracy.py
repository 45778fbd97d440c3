"""Measures how often gacheck is wrong, and writes docs/accuracy.md.

    make accuracy            1,000 right runs, and every mutant 15 times
    make accuracy RUNS=50    a quick look; nothing is written below 1,000

Right runs: a right model under a right Trainer, and the installed Llama under the installed Trainer. They differ in
seed (weights, order, lengths), longest row, packing, accumulation steps and precision; each is told as it comes out.
"""

from __future__ import annotations

import itertools
import math
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import LlamaForCausalLM, Trainer

from gacheck.measure.selftest.mutants import MUTANTS, TWIN, Mutant
from gacheck.measure.selftest.outcomes import Outcome, measure_mutant, selftest_config
from gacheck.measure.session import quiet_libraries
from gacheck.record.environment import read_environment
from gacheck.rules.table import severity_of
from gacheck.words.analysis import Analysis, analyse

PAGE = Path(__file__).parent / "accuracy.md"
WRITTEN_FROM = 1000
SEEDS_PER_MUTANT = 5
CONFIDENCE = 0.95

INSTALLED = Mutant("LlamaForCausalLM under the Trainer", "OK", model_class=LlamaForCausalLM, trainer_class=Trainer)
PRECISIONS: dict[str, dict[str, object]] = {
    "float32": {},
    "bfloat16 autocast": {"bf16": True},
    "bfloat16 weights": {"dtype": "bfloat16"},
}
LENGTHS = (16, 64, 128, 256)
STEPS = ((2,), (4,), (8,), (2, 8))


@dataclass(frozen=True)
class Trial:
    """One run and what came out."""

    subject: Mutant
    precision: str
    analysis: Analysis

    @property
    def separation(self) -> float | None:
        """How far the next best rule is off, in units of the error."""
        found = self.analysis.findings[0].forward if self.analysis.findings else None
        return found.separation if found is not None and found.rule is not None else None


def right_trials(number: int) -> Iterator[Trial]:
    """Measure right models; the grid of conditions repeats, the seed does not."""
    grid = itertools.cycle(itertools.product(LENGTHS, STEPS, PRECISIONS, (False, True), (TWIN, INSTALLED)))
    for seed, (length, steps, precision, packing, subject) in zip(range(number), grid, strict=False):
        options: dict[str, object] = {"seed": seed, "max_length": length, "packing": packing, "short_last_step": False}
        options |= {"gradient_accumulation_steps": steps, **PRECISIONS[precision]}
        yield Trial(subject, precision, analyse(measure_mutant(subject, selftest_config(subject, **options))))


def mutant_trials(seeds: int) -> Iterator[Trial]:
    """Measure every mutant with many seeds, k = 2, 4, 8."""
    for seed, precision, mutant in itertools.product(range(seeds), PRECISIONS, MUTANTS):
        options: dict[str, object] = {"seed": seed, **PRECISIONS[precision]}
        yield Trial(mutant, precision, analyse(measure_mutant(mutant, selftest_config(mutant, **options))))


def upper_bound(events: int, trials: int) -> float:
    """Return the one-sided Clopper-Pearson bound on a rate, at 95 %."""

    def probability_of_so_few(rate: float) -> float:
        return sum(math.comb(trials, n) * rate**n * (1 - rate) ** (trials - n) for n in range(events + 1))

    low, high = events / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if probability_of_so_few(middle) > 1 - CONFIDENCE else (low, middle)
    return high


def caught(trial: Trial) -> bool:
    """Whether a mutant got its code, and `affects` said right."""
    return Outcome(trial.subject, trial.precision, trial.analysis).caught


def shown(trials: Iterator[Trial], total: int) -> list[Trial]:
    """Collect trials, and say on stderr how far they are."""
    done, started = [], time.perf_counter()
    for trial in trials:
        done.append(trial)
        if len(done) % 50 == 0 or len(done) == total:
            seconds = time.perf_counter() - started
            print(f"{len(done)} of {total}, {seconds:.0f} s", file=sys.stderr)
    return done


def separations(trials: Sequence[Trial], precision: str) -> str:
    """Render quantiles of the separation."""
    values = sorted(s for t in trials if t.precision == precision and (s := t.separation) is not None)
    if len(values) < 2:
        return f"| {precision} | {len(values)} | – | – | – |"
    return (
        f"| {precision} | {len(values)} | {values[0]:.3g} | {values[len(values) // 100]:.3g} "
        f"| {statistics.median(values):.3g} |"
    )


def page(right: Sequence[Trial], mutants: Sequence[Trial]) -> str:
    """Render docs/accuracy.md."""
    alarms = [t for t in right if t.analysis.verdict.severity in ("warn", "fail")]
    undecided = [t for t in right if t.analysis.verdict.severity == "inconclusive"]
    missed = [t for t in mutants if not caught(t)]
    wrong = [t for t in missed if t.analysis.verdict.code != "INCONCLUSIVE"]
    num_faults = sum(severity_of(mutant.code) != "ok" for mutant in MUTANTS)
    packages = read_environment().packages
    lines = [
        "<!-- Made by docs/make_accuracy.py: run  make accuracy  instead of editing. -->",
        "",
        "# How often is it wrong?",
        "",
        f"Measured by `make accuracy` with transformers {packages['transformers']}, torch {packages['torch']}, CPU.",
        "",
        "## Right models that are accused",
        "",
        f"{len(right):,} runs of right models: half a right model under a right Trainer, half the installed Llama",
        "under the installed Trainer. Each has its own seed (weights, order and lengths of rows);",
        f"longest row {', '.join(map(str, LENGTHS))}; packed or not; k = 2, 4, 8, or 2 and 8;",
        "float32, bfloat16 autocast, bfloat16 weights.",
        "",
        "| | runs | share | upper bound, 95 % |",
        "| --- | ---: | ---: | ---: |",
        _rate("false alarms (WARN or FAIL)", len(alarms), len(right)),
        _rate("INCONCLUSIVE", len(undecided), len(right)),
        "",
        *_listing(alarms + undecided),
        "## Faults that are missed",
        "",
        f"{len(MUTANTS)} mutants, {num_faults} of them with a fault; {len(mutants) // len(MUTANTS)} runs each, at",
        "k = 2, 4, 8. Missed: another code than the mutant's, or another answer to what is affected, the log, the",
        "gradient or both.",
        "",
        "| | runs | share | upper bound, 95 % |",
        "| --- | ---: | ---: | ---: |",
        _rate("missed", len(missed), len(mutants)),
        _rate("of these with a wrong verdict, not INCONCLUSIVE", len(wrong), len(mutants)),
        "",
        *_listing(missed),
        "## Separation",
        "",
        "How far the next best rule is off, in units of the matching rule's error (or of the tolerance, if that is",
        "larger). Runs whose data no other rule would read differently are left out.",
        "",
        "| precision | runs | smallest | 1st percentile | median |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(separations([*right, *mutants], precision) for precision in PRECISIONS),
        "",
    ]
    return "\n".join(lines)


def _rate(what: str, events: int, trials: int) -> str:
    return f"| {what} | {events} of {trials:,} | {events / trials:.2%} | {upper_bound(events, trials):.2%} |"


def _listing(trials: Sequence[Trial]) -> list[str]:
    """List what went otherwise, by kind."""
    kinds = Counter(
        f"{t.subject.name}, {t.precision}: {t.analysis.verdict.code} ({t.analysis.verdict.affects}), "
        f"expected {t.subject.code} ({t.subject.affects or 'any'})"
        for t in trials
    )
    return [*(f"- {number} × {kind}" for kind, number in sorted(kinds.items())), ""] if kinds else []


def main() -> None:
    """Measure and write."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else WRITTEN_FROM
    quiet_libraries()
    torch.set_num_threads(1)
    seeds = SEEDS_PER_MUTANT if runs >= WRITTEN_FROM else 1
    right = shown(right_trials(runs), runs)
    mutants = shown(mutant_trials(seeds), seeds * len(PRECISIONS) * len(MUTANTS))
    text = page(right, mutants)
    if runs >= WRITTEN_FROM:
        PAGE.write_text(text, encoding="utf-8")
        print(PAGE)
    else:
        print(text)


if __name__ == "__main__":
    main()
