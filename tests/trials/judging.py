"""What gacheck says of a drawn training, and whether that is true."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from gacheck.words.analysis import Analysis
from tests.trials.doors import DOORS
from tests.trials.draw import Draw
from tests.trials.drawing import draw
from tests.trials.faults import FAULTS
from tests.trials.faults.fault import OVER_K, TIMES_K
from tests.trials.quiet import quiet
from tests.trials.right_steps import NoTruth
from tests.trials.truth import Truth

MOST_ATTEMPTS = 40
ALIKE = 0.02
"""Relative difference up to which a factor is taken for k; in half precision it is not met better."""

RIGHT = "right"
FALSE_ALARM = "false alarm"
MISS = "miss"
INCONCLUSIVE = "inconclusive"
WRONG_CAUSE = "wrong cause"
EXCEPTION = "exception"
KINDS = (RIGHT, FALSE_ALARM, MISS, WRONG_CAUSE, INCONCLUSIVE, EXCEPTION)
"""What a verdict can come to."""


class UnsoundTrial(Exception):
    """The trial is none: what was drawn as right is not, a fault never has an effect, or the training breaks."""


@dataclass(frozen=True)
class Trial:
    """A training, its truth, and what was said of it.

    Attributes:
        seed: Repeats it.
        draw: What was trained.
        truth: Of the steps that the door shows.
        outcome: One of `KINDS`.
        code: The verdict.
        affects: The verdict's.
        said: What else is worth a line: the summary, or the exception.
        attempts: Draws that were of no use.
        seconds: For all of it.
    """

    seed: int
    draw: Draw
    truth: Truth
    outcome: str
    code: str
    affects: str
    said: str
    attempts: int
    seconds: float

    @property
    def found(self) -> bool:
        """Whether the verdict is true."""
        return self.outcome == RIGHT


def drawn_with_truth(seed: int) -> tuple[Draw, Truth, int]:
    """Draw until the truth is clear.

    Raises:
        UnsoundTrial: It never is, or a right training is wrong.
    """
    for attempt in range(MOST_ATTEMPTS):
        drawn = draw(seed, attempt)
        try:
            with quiet():
                truth = DOORS[drawn.door].truth(drawn)
        except NoTruth:
            continue
        except Exception as error:  # of the training itself: thousands of others are not to be lost for it
            raise UnsoundTrial(f"seed {seed}: {drawn} cannot be trained: {type(error).__name__}: {error}") from error
        if drawn.fault is not None:
            truth = truth.first(DOORS[drawn.door].num_steps)
        if truth.label == "wrong" and drawn.fault is None:
            raise UnsoundTrial(f"seed {seed}: {drawn} is not right: {truth}")
        if truth.label == ("right" if drawn.fault is None else "wrong"):
            return drawn, truth, attempt
    raise UnsoundTrial(f"seed {seed}: {draw(seed)} has no clear truth in {MOST_ATTEMPTS} draws")


def try_seed(seed: int) -> Trial:
    """Do the trial of a seed."""
    started = time.perf_counter()
    drawn, truth, attempts = drawn_with_truth(seed)
    code, affects, said = "", "", ""
    try:
        with quiet():
            analysis = DOORS[drawn.door].judge(drawn)
    except Exception as error:
        outcome, said = EXCEPTION, f"{type(error).__name__}: {error}".splitlines()[0][:300]
    else:
        if analysis is None:
            outcome, said = EXCEPTION, "nothing was seen"
        else:
            verdict = analysis.verdict
            code, affects, said = verdict.code, verdict.affects, verdict.words.summary
            outcome = _outcome(drawn, truth, code, affects, verdict.severity, _alike(analysis))
    return Trial(seed, drawn, truth, outcome, code, affects, said, attempts, time.perf_counter() - started)


def _alike(analysis: Analysis) -> frozenset[str]:
    """Return the codes of what these data cannot tell from what was found: with one target a row a sum is a mean."""
    passes = analysis.findings[0].passes if analysis.findings else ()
    joint = [analysis.findings[0].forward] if analysis.findings else []
    found = [each for each in (*joint, *(p.forward for p in passes)) if each is not None]
    return frozenset(code for each in found for rule in (*each.equivalent, *each.fitting) for code in rule.codes)


def _outcome(
    drawn: Draw, truth: Truth, code: str, affects: str, severity: str, alike: frozenset[str] = frozenset()
) -> str:
    if severity == "inconclusive":
        return INCONCLUSIVE
    if drawn.fault is None:
        return RIGHT if severity == "ok" else FALSE_ALARM
    fault = FAULTS[drawn.fault]
    named = fault.codes | _in_effect(truth, drawn.k)
    if severity == "ok":
        # That data cannot tell a fault from what is right excuses nothing: the truth says that it is wrong.
        return RIGHT if code in named else MISS
    if code not in named and not fault.codes & alike:
        return WRONG_CAUSE
    # A fault of both may be felt in one of them alone; and weights that moved too early change the log as well.
    return RIGHT if affects in (fault.affects, truth.affects) else WRONG_CAUSE


def _in_effect(truth: Truth, k: int) -> frozenset[str]:
    """Name what a fault may be called whose effect on its data is times k, or over k, or NaN, and nothing else."""
    if not all(math.isfinite(step.logged) for step in truth.steps):
        return frozenset({"NONFINITE"})
    for factor, codes in ((k, TIMES_K), (1 / k, OVER_K)):
        off = abs(factor - 1)
        if all(
            error == 0 or math.isclose(error, off, rel_tol=ALIKE)
            for step in truth.steps
            for error in (
                abs(step.logged / step.right - 1) if truth.log == "wrong" else 0,
                step.gradient_error if truth.gradient == "wrong" else 0,
                step.parameter_error if truth.gradient == "wrong" else 0,
            )
        ):
            return codes
    return frozenset()
