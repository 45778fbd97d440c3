"""Small things that the training tests share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from transformers import CONFIG_MAPPING, PreTrainedModel, PreTrainedTokenizerFast

from gacheck.config import ExperimentConfig
from gacheck.measure.models.building import build_model
from gacheck.measure.models.stand_in import tiny_config
from gacheck.measure.models.tokenizer import VOCABULARY, train_tokenizer
from gacheck.measure.passes.oracle import Oracle
from gacheck.measure.passes.runner import PassRunner
from gacheck.measure.session import Session
from gacheck.measure.text.rows import Collator, Rows, make_rows
from gacheck.measure.text.sources import builtin_texts, open_text
from gacheck.record.parts import OracleRecord, PassRecord
from gacheck.record.plan import PassSpec
from gacheck.rules.facts import Flag
from gacheck.words.analysis import Analysis, analyse
from tests.builders import run_record

SMALL: Mapping[str, object] = {"gradient_accumulation_steps": (1, 4), "effective_batch_size": 8, "max_steps": 2}
# The plain one; a router loss; no shift and no count; one of several parts, that asks for zeros.
NAMED = ("llama", "mixtral", "xlnet", "gemma3")
# An older release lacks some of these types.
INSTALLED = tuple(model_type for model_type in NAMED if model_type in CONFIG_MAPPING)
LEARNING_RATE = 1e-3


def small_config(model: str = "tiny:llama", **options: object) -> ExperimentConfig:
    return ExperimentConfig.model_validate({**SMALL, "model": model, "device": "cpu", **options})


@cache
def opened(model: str = "tiny:llama") -> tuple[Session, OracleRecord]:
    session = Session(small_config(model))
    return session, session.ask_oracle()


@cache
def stand_in_tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(builtin_texts(), VOCABULARY)


@cache
def analysed(model: str) -> Analysis:
    """Measure k = 1 and 4 with the flag on and off, and read the record."""
    session, oracle = opened(model)
    passes = [session.run_pass(PassSpec(k, flag), oracle, lambda: None) for k in (1, 4) for flag in Flag]
    return read(passes, oracle)


def read(passes: Sequence[PassRecord], oracle: OracleRecord) -> Analysis:
    return analyse(run_record(passes, oracle_record=oracle))


def tiny_model(
    model_class: type[PreTrainedModel] | None = None, model_type: str = "llama", **fields: object
) -> PreTrainedModel:
    """Build the stand-in, or a class on its config; the same weights every time."""
    config = tiny_config(model_type, VOCABULARY)
    for name, value in fields.items():
        setattr(config, name, value)
    if model_class is None:
        return build_model(config, seed=0)
    torch.manual_seed(0)
    return model_class(config)


@dataclass(frozen=True)
class Bench:
    """A model that a test made itself, ready to be measured."""

    model: Any
    config: ExperimentConfig
    rows: Rows
    collator: Collator
    oracle: Oracle
    runner: PassRunner

    def run(self, k: int = 4, flag: str = "on", step_done: Callable[[], None] = lambda: None) -> PassRecord:
        oracle = opened()[1]  # of the same weights
        return self.runner.run(PassSpec(k, Flag(flag)), oracle, step_done)


def bench(model: Any, **options: object) -> Bench:
    config = small_config("tiny:llama", **options)
    rows = make_rows(open_text(config), stand_in_tokenizer(), config)
    collator = Collator(0)
    oracle = Oracle(model.train(), collator, torch.bfloat16 if config.bf16 else None)
    return Bench(
        model, config, rows, collator, oracle, PassRunner(config, LEARNING_RATE, model, rows, collator, oracle)
    )


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same_weights(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    """Whether two models are equal bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
