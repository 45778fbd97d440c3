"""Measures a mutant as a run measures a model: real passes, probe, oracle, rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from gacheck.config import ExperimentConfig
from gacheck.measure.models.stand_in import tiny_config, train_tokenizer
from gacheck.measure.passes.oracle import Oracle
from gacheck.measure.passes.runner import PassRunner
from gacheck.measure.passes.trainers import Making
from gacheck.measure.selftest.mutants import MUTANTS, TWIN, Mutant
from gacheck.measure.text.rows import Collator, make_rows
from gacheck.measure.text.sources import builtin_texts, open_source
from gacheck.record.environment import read_environment
from gacheck.record.parts import HardwareFacts, ModelFacts, PassRecord
from gacheck.record.plan import PassSpec, plan
from gacheck.record.run import RunRecord
from gacheck.words.analysis import Analysis, analyse

VOCABULARY = 300
ACCUMULATION_STEPS = (2, 4, 8)
LEARNING_RATE = 1e-3


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


def outcomes(seed: int = 0) -> Iterator[Outcome]:
    """Measure the twin and every mutant, in float32 and under bfloat16 autocast."""
    for precision in ("float32", "bf16"):
        for mutant in (TWIN, *MUTANTS):
            config = selftest_config(mutant, seed=seed, bf16=precision == "bf16")
            yield Outcome(mutant, precision, analyse(measure(mutant, config)))


def selftest_config(mutant: Mutant, **options: object) -> ExperimentConfig:
    """Return the experiment on a mutant: k = 2, 4, 8 with the flag as its Trainer sets it."""
    given: dict[str, object] = {
        "model": "tiny:llama",
        "gradient_accumulation_steps": ACCUMULATION_STEPS,
        "loss_kwargs": (mutant.flag,),
        "max_steps": 1,
        "device": "cpu",
        "short_last_step": mutant.tail,
    }
    return ExperimentConfig.model_validate({**given, **options})


@cache
def _tokenizer() -> Any:
    return train_tokenizer(builtin_texts(), VOCABULARY)


def measure(mutant: Mutant, config: ExperimentConfig) -> RunRecord:
    """Run a mutant's passes and return the record."""
    torch.manual_seed(config.seed)
    model = mutant.model_class(tiny_config("llama", VOCABULARY)).to(getattr(torch, config.dtype)).train()
    rows = make_rows(open_source(config), _tokenizer(), config)
    collator = Collator(_tokenizer().pad_token_id)
    oracle = Oracle(model, collator, torch.bfloat16 if config.bf16 else None)
    runner = PassRunner(config, LEARNING_RATE, model, rows, collator, oracle, making=Making(mutant.trainer_class))
    facts = runner.measure_oracle()

    def run_pass(spec: PassSpec) -> PassRecord:
        # The mutant's flag is its own choice.
        return runner.run(spec, facts, lambda: None).model_copy(update={"auto_loss_kwargs": mutant.flag})

    passes = [run_pass(spec) for spec in plan(config)]
    return RunRecord(
        created_at="",
        command=("gacheck", "selftest"),
        config=config,
        learning_rate=LEARNING_RATE,
        environment=read_environment(),
        hardware=HardwareFacts(
            device="cpu",
            device_name="cpu",
            dtype=config.dtype,
            autocast="bfloat16" if config.bf16 else None,
            world_size=mutant.world_size,
        ),
        model=ModelFacts(
            name=mutant.name,
            class_name=type(model).__name__,
            model_type="llama",
            num_parameters=sum(p.numel() for p in model.parameters()),
            stand_in=True,
            random_weights=True,
            own_tokenizer=False,
            accepts_loss_kwargs_declared=getattr(model, "accepts_loss_kwargs", None),
            forward_has_kwargs=True,
        ),
        data=rows.facts,
        oracle=facts,
        passes=tuple(p for p in passes if not p.tail),
        tail_passes=tuple(p for p in passes if p.tail),
    )
