"""gacheck in code: what is public, what it finds, and that it leaves everything as it was."""

from __future__ import annotations

import random
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments

import gacheck
from gacheck.measure.passes.snapshot import accelerate_kept
from gacheck.measure.selftest.mutants import RightModel, RightTrainer
from gacheck.record.journal import load_record
from tests.measure.modelling import bench, same_weights, tiny_model, weights_of

FAULT = "SCALED_BY_ACCUMULATION"


class MicroBatchMeans(RightTrainer):
    """Takes a mean of every micro-batch, though the flag is on."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        outputs = model(**inputs)
        labels = inputs["labels"][:, 1:].flatten()
        loss = cross_entropy(outputs.logits[:, :-1].flatten(0, 1), labels, ignore_index=-100)
        return (loss, outputs) if return_outputs else loss


@pytest.fixture(autouse=True)
def no_traces() -> Iterator[None]:
    with accelerate_kept():
        yield


def make_trainer(trainer_class: type[Trainer] = RightTrainer, **options: Any) -> Trainer:
    """Make a Trainer of a model with dropout; two of one class train in the same way."""
    model = tiny_model(RightModel, attention_dropout=0.1)
    rows = bench(tiny_model(), max_steps=3)
    args = TrainingArguments(
        tempfile.mkdtemp(),
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        max_steps=3,
        learning_rate=1e-3,
        logging_steps=1,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        **options,
    )
    torch.manual_seed(1)
    return trainer_class(model=model, args=args, train_dataset=rows.rows.train, data_collator=rows.collator)


def outcome(trainer: Trainer) -> tuple[dict[str, torch.Tensor], list[float], torch.Tensor]:
    """Train; return weights, log and random state."""
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return weights_of(trainer.model), losses, torch.get_rng_state()


def same(first: Any, second: Any) -> bool:
    return same_weights(first[0], second[0]) and first[1] == second[1] and torch.equal(first[2], second[2])


def test_what_is_public() -> None:
    assert gacheck.__all__ == [
        "Analysis",
        "Attachment",
        "FaultError",
        "FaultWarning",
        "GacheckError",
        "attach",
        "check",
    ]
    assert all(hasattr(gacheck, name) for name in gacheck.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = gacheck.nothing


def test_a_right_trainer_is_ok() -> None:
    assert gacheck.check(make_trainer()).ok


def test_a_fault_is_named_where_an_assertion_fails() -> None:
    found = gacheck.check(make_trainer(MicroBatchMeans))

    assert not found.ok
    assert found.record.command == ("gacheck.check(trainer)",)
    assert (found.verdict.code, found.verdict.affects) == (FAULT, "both")
    assert f"{FAULT}: the loss is k times too large" in repr(found)
    assert "MicroBatchMeans.compute_loss drops it" in repr(found)
    assert "Fix: Return from MicroBatchMeans.compute_loss the summed loss / num_items_in_batch" in repr(found)


def test_a_fault_is_an_error_where_it_is_to_be() -> None:
    with pytest.raises(gacheck.FaultError) as caught:
        gacheck.check(make_trainer(MicroBatchMeans), on_fault="raise")

    assert caught.value.line.startswith(f"FAIL {FAULT}: the loss is k times too large; test_api.py:")
    assert str(caught.value).startswith(f"FAIL  {FAULT}: the loss is k times too large\n why       ")
    assert gacheck.check(make_trainer(), on_fault="raise").ok


def test_a_model_is_checked_as_it_is() -> None:
    class DropsTheCount(RightModel):
        def normalise(self, nats: torch.Tensor, num_targets: torch.Tensor, num_items: Any) -> torch.Tensor:
            return nats / num_targets

    found = gacheck.check(tiny_model(DropsTheCount))

    assert (found.ok, found.verdict.code) == (False, FAULT)
    assert found.record.command == ("gacheck.check(model)",)
    assert found.record.config.gradient_accumulation_steps == (4,)


def test_a_model_in_double_precision_is_checked_in_it() -> None:
    single, double = (gacheck.check(tiny_model(RightModel).to(dtype)) for dtype in (torch.float32, torch.float64))

    assert double.verdict.code == single.verdict.code
    assert double.record.config.dtype == "float64"


def test_a_model_without_a_config_is_told_what_to_hand_over() -> None:
    with pytest.raises(gacheck.GacheckError, match="Linear has no config") as raised:
        gacheck.check(torch.nn.Linear(2, 2))
    assert "gacheck.check(trainer)" in str(raised.value.fix)


def check_model(trainer: Trainer) -> None:
    gacheck.check(trainer.model)


def attach_and_warn(trainer: Trainer) -> None:
    gacheck.attach(trainer)


@cache
def bare(trainer_class: type[Trainer], bf16: bool) -> Any:
    """Return the outcome where nobody watches."""
    with accelerate_kept():
        return outcome(make_trainer(trainer_class, bf16=bf16))


@pytest.mark.parametrize(
    ("use", "trainer_class", "bf16"),
    [
        (gacheck.check, RightTrainer, False),
        (gacheck.check, MicroBatchMeans, True),
        (check_model, RightTrainer, True),
        (attach_and_warn, RightTrainer, False),
        # A fault is asked about, and leaves as little behind.
        (attach_and_warn, MicroBatchMeans, True),
    ],
)
def test_a_training_that_follows_is_the_same(
    use: Callable[[Trainer], Any], trainer_class: type[Trainer], bf16: bool
) -> None:
    trainer = make_trainer(trainer_class, bf16=bf16)
    use(trainer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gacheck.FaultWarning)
        watched = outcome(trainer)

    assert same(bare(trainer_class, bf16), watched)
    assert not {"training_step", "train"} & set(vars(trainer))


def test_another_seed_would_show() -> None:
    # The control of the test above.
    trainer = make_trainer()
    torch.manual_seed(2)

    assert not same(bare(RightTrainer, False), outcome(trainer))


@pytest.mark.parametrize("use", [gacheck.check, check_model])
def test_a_check_leaves_no_trace(use: Callable[[Trainer], Any]) -> None:
    trainer = make_trainer()
    trainer.model.eval()
    before = weights_of(trainer.model), torch.get_rng_state(), random.getstate()
    callbacks, attention = list(trainer.callback_handler.callbacks), trainer.model.model.layers[0].self_attn
    dropout = attention.attention_dropout
    use(trainer)

    assert same_weights(before[0], weights_of(trainer.model))
    assert torch.equal(before[1], torch.get_rng_state())
    assert before[2] == random.getstate()
    assert (attention.attention_dropout, dropout) == (0.1, 0.1)
    assert (trainer.optimizer, trainer.state.global_step) == (None, 0)
    assert trainer.callback_handler.callbacks == callbacks
    assert not trainer.model.training
    assert all(p.grad is None for p in trainer.model.parameters())
    assert not trainer.model._forward_hooks


def test_attach_tells_once_the_steps_are_seen(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    handle = gacheck.attach(make_trainer(), steps=3, out=tmp_path / "mine")
    trainer = handle._watch._trainer
    assert (handle.analysis, repr(handle)) == (None, "<Attachment: nothing seen yet>")
    trainer.train()

    assert handle.analysis is not None
    assert handle.analysis.ok
    assert "gacheck: OK" in capsys.readouterr().err
    record = load_record(tmp_path / "mine")
    assert (record.kind, record.num_steps) == ("attach", 3)


def test_a_training_shorter_than_the_watch_is_judged_too() -> None:
    trainer = make_trainer()
    handle = gacheck.attach(trainer, steps=10)
    trainer.train()

    assert handle.analysis is not None
    assert (handle.analysis.verdict.code, handle.analysis.record.num_steps) == ("OK", 3)


def test_a_fault_warns_and_the_training_goes_on() -> None:
    trainer = make_trainer(MicroBatchMeans)
    gacheck.attach(trainer)
    with pytest.warns(gacheck.FaultWarning, match=FAULT):
        trainer.train()

    assert trainer.state.global_step == 3


def test_a_fault_ends_the_training_at_its_first_step_if_it_is_to() -> None:
    trainer = make_trainer(MicroBatchMeans)
    before = weights_of(trainer.model)
    gacheck.attach(trainer, on_fault="raise")
    with pytest.raises(gacheck.FaultError, match=FAULT):
        trainer.train()

    assert trainer.state.global_step == 0
    assert same_weights(before, weights_of(trainer.model))
    assert "training_step" not in vars(trainer)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"on_fault": "shout"}])
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(gacheck.GacheckError):
        gacheck.attach(make_trainer(), **wrong)


@pytest.mark.parametrize("wrong", [{"gradient_accumulation_steps": 0}, {"on_fault": "warn"}])
def test_values_out_of_range_are_refused_before_a_check(wrong: dict[str, Any]) -> None:
    with pytest.raises(gacheck.GacheckError):
        gacheck.check(tiny_model(RightModel), **wrong)


def test_a_trainer_that_makes_no_step_is_said_to() -> None:
    class Lazy(RightTrainer):
        def train(self, *args: Any, **kwargs: Any) -> Any:
            return None

    with pytest.raises(gacheck.GacheckError, match="no end of an optimizer step"):
        gacheck.check(make_trainer(Lazy))


class Exits(RightModel):
    """Ends the program, as a script may that is done."""

    def normalise(self, nats: torch.Tensor, num_targets: torch.Tensor, num_items: Any) -> torch.Tensor:
        sys.exit(0)


def test_a_model_that_ends_the_program_is_said_to() -> None:
    with pytest.raises(gacheck.GacheckError, match=r"called sys\.exit\(0\)"):
        gacheck.check(tiny_model(Exits))


def test_a_training_that_ends_the_program_is_said_to() -> None:
    trainer = make_trainer()
    trainer.model = tiny_model(Exits)
    with pytest.raises(gacheck.GacheckError, match=r"called sys\.exit\(0\)"):
        gacheck.check(trainer)


@pytest.mark.parametrize("steps", [0, -1, "x", 2.5])
def test_a_wrong_argument_is_told_as_an_argument(steps: Any) -> None:
    with pytest.raises(gacheck.GacheckError) as raised:
        gacheck.check(tiny_model(RightModel), gradient_accumulation_steps=steps)
    assert f"gradient_accumulation_steps={steps}" in raised.value.what  # type: ignore[attr-defined]
    assert raised.value.exit_code == 2


class Fails(RightTrainer):
    """Raises where it is trained."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        raise LookupError("nothing there")


class FailingModel(RightModel):
    """Raises where it computes its loss."""

    def normalise(self, nats: torch.Tensor, num_targets: torch.Tensor, num_items: Any) -> torch.Tensor:
        raise LookupError("nothing there")


@pytest.mark.parametrize(
    ("checked", "who"),
    [(lambda: make_trainer(Fails), "Fails.compute_loss"), (lambda: tiny_model(FailingModel), "FailingModel.normalise")],
)
def test_what_the_users_own_code_raises_is_told_with_its_place(checked: Callable[[], Any], who: str) -> None:
    with pytest.raises(gacheck.GacheckError) as raised:
        gacheck.check(checked())
    said = f"{who} raised LookupError: nothing there (tests/test_api.py:"
    assert raised.value.what.startswith(said)  # type: ignore[attr-defined]
    assert isinstance(raised.value.__cause__, LookupError)
    assert raised.value.exit_code == 2
