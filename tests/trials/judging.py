"""What gacheck says of a drawn training, and whether that is true."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gacheck
from gacheck.words.analysis import Analysis, Verdict
from tests.trials.building import Build, make_model, make_trainer
from tests.trials.draw import Draw
from tests.trials.drawing import ATTACH, CHECK, SHOWS_TWO_STEPS, draw
from tests.trials.faults import FAULTS
from tests.trials.objectives import OBJECTIVES
from tests.trials.truth import BOUNDS, NoTruth, Truth, find_truth

MOST_ATTEMPTS = 40

RIGHT = "right"
FALSE_ALARM = "false alarm"
MISS = "miss"
INCONCLUSIVE = "inconclusive"
WRONG_CAUSE = "wrong cause"
EXCEPTION = "exception"
KINDS = (RIGHT, FALSE_ALARM, MISS, WRONG_CAUSE, INCONCLUSIVE, EXCEPTION)
"""What a verdict can come to."""


class UnsoundTrial(Exception):
    """The trial contradicts itself: what was drawn as right is not, or a fault that never has an effect."""


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


def build(drawn: Draw) -> Build:
    """Return what the Trainer is made of, fault and all."""
    made = OBJECTIVES[drawn.objective].build(drawn)
    if drawn.fault is not None:
        FAULTS[drawn.fault].plant(made)
    return made


def truth_of(drawn: Draw) -> Truth:
    """Run it bare.

    Raises:
        NoTruth: The objective means nothing on these data.
    """
    objective = OBJECTIVES[drawn.objective]
    truth = find_truth(
        make_trainer(build(drawn)),
        make_model(objective.build(drawn)),
        objective.part(drawn),
        BOUNDS[drawn.precision],
        autocast=drawn.precision == "bfloat16 autocast",
        calls_matter=objective.calls_matter,
    )
    return truth if drawn.door in SHOWS_TWO_STEPS else truth.first(1)


def drawn_with_truth(seed: int) -> tuple[Draw, Truth, int]:
    """Draw until the truth is clear.

    Raises:
        UnsoundTrial: It never is, or a right training is wrong.
    """
    for attempt in range(MOST_ATTEMPTS):
        drawn = draw(seed, attempt)
        try:
            with quiet():
                truth = truth_of(drawn)
        except NoTruth:
            continue
        if truth.label == "wrong" and drawn.fault is None:
            raise UnsoundTrial(f"seed {seed}: {drawn} is not right: {truth}")
        if truth.label == ("right" if drawn.fault is None else "wrong"):
            return drawn, truth, attempt
    raise UnsoundTrial(f"seed {seed}: {draw(seed)} has no clear truth in {MOST_ATTEMPTS} draws")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what Trainers print to themselves."""
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _checked(drawn: Draw) -> Analysis | None:
    return gacheck.check(make_trainer(build(drawn)))


def _attached(drawn: Draw) -> Analysis | None:
    trainer = make_trainer(build(drawn))
    attachment = gacheck.attach(trainer)
    trainer.train()
    return attachment.analysis


DOORS: dict[str, Callable[[Draw], Analysis | None]] = {CHECK: _checked, ATTACH: _attached}


def try_seed(seed: int) -> Trial:
    """Do the trial of a seed."""
    started = time.perf_counter()
    drawn, truth, attempts = drawn_with_truth(seed)
    code, affects, said = "", "", ""
    try:
        with quiet():
            analysis = DOORS[drawn.door](drawn)
    except Exception as error:
        outcome, said = EXCEPTION, f"{type(error).__name__}: {error}".splitlines()[0][:300]
    else:
        if analysis is None:
            outcome, said = EXCEPTION, "nothing was seen"
        else:
            verdict = analysis.verdict
            code, affects, said = verdict.code, verdict.affects, verdict.words.summary
            outcome = _outcome(drawn, truth, verdict, _alike(analysis))
    return Trial(seed, drawn, truth, outcome, code, affects, said, attempts, time.perf_counter() - started)


def _alike(analysis: Analysis) -> frozenset[str]:
    """Return the codes of what these data cannot tell from what was found: with one target a row a sum is a mean."""
    found = analysis.findings[0].forward if analysis.findings else None
    return frozenset(code for rule in (found.equivalent if found else ()) for code in rule.codes)


def _outcome(drawn: Draw, truth: Truth, verdict: Verdict, alike: frozenset[str]) -> str:
    code, affects, severity = verdict.code, verdict.affects, verdict.severity
    if severity == "inconclusive":
        return INCONCLUSIVE
    if drawn.fault is None:
        return RIGHT if severity == "ok" else FALSE_ALARM
    fault = FAULTS[drawn.fault]
    if code not in fault.codes and not fault.codes & alike:
        return MISS if severity == "ok" else WRONG_CAUSE
    # What is off by less than the bounds may be said to be wrong, not the other way round.
    if severity != "ok" and affects not in (fault.affects, truth.affects):
        return WRONG_CAUSE
    return RIGHT
