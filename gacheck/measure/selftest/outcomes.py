"""Measures a mutant as a run measures a model, and holds the verdict against the planted fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gacheck.config import ExperimentConfig
from gacheck.measure.experiment import begin_record, run_passes
from gacheck.measure.selftest.mutants import MUTANTS, TWIN, Mutant
from gacheck.measure.selftest.planted import MODEL_TYPE, Planted
from gacheck.measure.session import Session
from gacheck.record.run import RunRecord
from gacheck.words.analysis import Analysis, analyse

ACCUMULATION_STEPS = (2, 4, 8)


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant."""

    mutant: Mutant
    precision: str
    analysis: Analysis

    @property
    def caught(self) -> bool:
        """Whether the verdict is the right one, and so is what it says is affected."""
        verdict = self.analysis.verdict
        return verdict.code == self.mutant.code and self.mutant.affects in (None, verdict.affects)


PRECISIONS = ("float32", "bf16")
NUM_OUTCOMES = len(PRECISIONS) * len((TWIN, *MUTANTS))


def outcomes() -> Iterator[Outcome]:
    """Measure the twin and every mutant, in float32 and under bfloat16 autocast."""
    for precision in PRECISIONS:
        for mutant in (TWIN, *MUTANTS):
            config = selftest_config(mutant, bf16=precision == "bf16")
            yield Outcome(mutant, precision, analyse(measure_mutant(mutant, config)))


def selftest_config(mutant: Mutant, **options: object) -> ExperimentConfig:
    """Return the experiment on a mutant: k = 2, 4, 8 with the flag as its Trainer sets it."""
    given: dict[str, object] = {
        "model": f"tiny:{MODEL_TYPE}",
        "gradient_accumulation_steps": ACCUMULATION_STEPS,
        "loss_kwargs": (mutant.flag,),
        "max_steps": 1,
        "device": "cpu",
        "short_last_step": mutant.tail,
    }
    return ExperimentConfig.model_validate({**given, **options})


def measure_mutant(mutant: Mutant, config: ExperimentConfig) -> RunRecord:
    """Run a mutant's passes and return the record."""
    session = Session(config, Planted(mutant, config), mutant.make_trainer)
    # One process stands for a world of several: the mutant was told of it, and so are the rules.
    session.hardware = session.hardware.model_copy(update={"world_size": mutant.world_size})
    record = begin_record(config, session)
    oracle = record.oracle
    return run_passes(record, lambda spec: session.run_pass(spec, oracle, lambda: None), lambda saved: None)
