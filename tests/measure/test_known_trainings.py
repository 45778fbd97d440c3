"""Trainings whose truth is known: a right one is ok, one that is wrong in the gradient alone never is.

The truth is that of a bare Trainer: what it adds to the gradient before the optimizer steps, against plain torch's.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Trainer

from gacheck.measure.passes.trainers import training_arguments
from gacheck.measure.session import Session
from gacheck.record.plan import PassSpec
from gacheck.words.analysis import Analysis
from tests.measure import known_trainings
from tests.measure.modelling import bench, read, small_config, tiny_model

K = 4
WRONG = ("DoublesTheGradient", "TurnsTheGradient", "FavoursTheHead", "ForgetsTheGradient", "HalfTheGradient")


class _Stop(Exception):
    """The gradient is whole."""


def bare_gradient(trainer_class: type[Trainer], folder: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradient of a bare Trainer's first optimizer step, and plain torch's of the token mean."""
    made = bench(tiny_model())
    config = small_config(max_steps=1)
    args = training_arguments(config, K, 1e-3, torch.device("cpu"), folder)
    trainer = trainer_class(model=made.model, args=args, train_dataset=made.rows.train, data_collator=made.collator)
    batches: list[dict[str, torch.Tensor]] = []
    step = trainer.training_step

    def kept(model: Any, inputs: Any, *more: Any, **named: Any) -> torch.Tensor:
        batches.append(inputs)
        loss: torch.Tensor = step(model, inputs, *more, **named)
        if trainer.accelerator.sync_gradients:
            raise _Stop
        return loss

    trainer.training_step = kept
    with pytest.raises(_Stop):
        trainer.train()
    model = trainer.model
    trained = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    count = sum(int(b["labels"][:, 1:].ne(-100).sum()) for b in batches)
    for b in batches:
        outputs = model(input_ids=b["input_ids"], attention_mask=b["attention_mask"])
        torch.autograd.backward(known_trainings._nats(outputs, b["labels"]).sum() / count)
    return trained, torch.cat([p.grad.flatten() for p in model.parameters()])


def judged(**options: object) -> Analysis:
    session = Session(small_config(max_steps=1, **options))
    oracle = session.ask_oracle()
    flag = session.auto_loss_kwargs()
    return read([session.run_pass(PassSpec(k, flag), oracle, lambda: None) for k in (1, K)], oracle)


@pytest.mark.parametrize("name", ["Plain", *WRONG])
def test_the_truth_is_what_the_verdict_says(name: str, tmp_path: Any) -> None:
    trained, right = bare_gradient(getattr(known_trainings, name), str(tmp_path))
    off = float((trained - right).norm() / right.norm())
    verdict = judged(trainer_class=f"tests.measure.known_trainings:{name}").verdict

    if name == "Plain":
        assert off < 1e-5
        assert verdict.code == "OK"
    else:
        assert off > 0.3
        assert (verdict.code, verdict.affects) == ("UNEXPLAINED", "gradient")
        assert "a cosine of" in verdict.words.cause


def test_a_loss_that_demands_the_count_is_right() -> None:
    assert judged(trainer_class="tests.measure.known_trainings:Focal").verdict.code == "OTHER_OBJECTIVE"


@pytest.mark.parametrize("name", ["ByHeartForCausalLM", "KnowsByHeartForCausalLM"])
def test_a_model_that_nearly_knows_its_rows_is_not_accused(name: str) -> None:
    options = {
        "model_class": f"tests.measure.known_trainings:{name}",
        "trainer_class": "tests.measure.known_trainings:Plain",
    }
    analysis = judged(**options)

    assert analysis.passes[0].reference_loss is not None
    assert analysis.passes[0].reference_loss < 0.01
    assert analysis.ok
