"""What a watched training told, in its record."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, fields
from typing import Any

import pytest

from gacheck.attached.record import read_training, record_of
from gacheck.rules.facts import Flag, Overrides, OwnLossFacts, WatchedTraining
from tests.builders import attached_run

OVERRIDES = Overrides(
    training_step="train:MyTrainer.training_step",
    compute_loss="train:MyTrainer.compute_loss",
    calls_own=("compute_loss",),
    drops_count=("compute_loss",),
    loss_is_scaled_for_ga=True,
    loss_is_scaled_set_by="train:MyTrainer",
)
OF_ORACLE = {
    "model_shifts": True,
    "labels_are_inputs": True,
    "hooked_parameters": ("lm_head.weight",),
    "overrides": OVERRIDES,
}
OF_MODEL = {"loss_type": "ForCausalLM", "has_loss_type": True, "built_by_auto_class": False}


def told(**facts: Any) -> str:
    record = attached_run("sum_of_means")
    known: dict[str, Any] = {
        "python": "3.9.1",
        "platform": "Linux",
        "packages": {},
        "model_name": "mine",
        "model_class": "MineForCausalLM",
        "model_type": "mine",
        "num_parameters": 1,
        "forward_has_kwargs": True,
        "trainer_class": "train:MyTrainer",
        "arguments": {"gradient_accumulation_steps": 4},
        "loss_kwargs": Flag.ON,
        "device": "cpu",
        "device_name": "cpu",
        "dtype": "float32",
        "num_processes": 1,
        "num_processes_seen": 1,
        "shifts": True,
        "resolution": 2.4e-7,
        "own_loss": OwnLossFacts(),
        "num_steps": 2,
        "steps": record.passes[0].steps,
        "loss_location": (),
        "unseen": (),
        "seconds": 1.0,
    }
    needed = [f.name for f in fields(WatchedTraining) if f.default is MISSING]
    return json.dumps(asdict(WatchedTraining(**{name: known.get(name) for name in needed}, **facts)))


@pytest.mark.parametrize("name", [*OF_ORACLE, *OF_MODEL])
def test_a_fact_comes_home(name: str) -> None:
    fact = {**OF_ORACLE, **OF_MODEL}[name]
    record = record_of(read_training(told(**{name: fact})), ("gacheck", "attach"))
    other = record_of(read_training(told()), ("gacheck", "attach"))

    assert getattr(record.oracle if name in OF_ORACLE else record.model, name) == fact
    assert getattr(other.oracle if name in OF_ORACLE else other.model, name) in (None, ())


def test_what_was_not_read_is_not_told() -> None:
    content = json.loads(told())
    for name in (*OF_ORACLE, *OF_MODEL):
        del content[name]  # as an earlier watch left it out

    assert record_of(read_training(json.dumps(content)), ()).oracle.overrides is None
