"""Being watched changes no bit of a training, and what is noted is what the Trainer did."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, Trainer, TrainingArguments

from gacheck.measure.passes.snapshot import Snapshot
from gacheck.watch.batches import batch_fingerprints
from gacheck.watch.probe import Probe, gradient_norm
from tests.measure.modelling import Bench, bench, same_weights, tiny_model, weights_of

NEVER_CLIPS = 1e9


@dataclass(frozen=True)
class Training:
    """What is left of a training: weights, random state, log and, if it was watched, the probe and its inputs."""

    weights: dict[str, torch.Tensor]
    random: torch.Tensor
    log: list[dict[str, float]]
    probe: Probe | None
    counts: list[float | None]
    batches: list[dict[str, torch.Tensor]]


def train(
    material: Bench, model: PreTrainedModel, k: int, flag: str, *, watch: bool, observed_steps: int = 1, **options: Any
) -> Training:
    """Train under a Trainer made by hand; `watch` is all that may differ."""
    counts: list[float | None] = []
    batches: list[dict[str, torch.Tensor]] = []
    with tempfile.TemporaryDirectory() as folder:
        arguments: dict[str, Any] = {"max_grad_norm": NEVER_CLIPS, **options}
        args = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=8 // k,
            gradient_accumulation_steps=k,
            max_steps=3,
            learning_rate=1e-3,
            seed=0,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            logging_strategy="steps",
            logging_steps=1,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            **arguments,
        )
        trainer = Trainer(model=model, args=args, train_dataset=material.rows.train, data_collator=material.collator)
        trainer.model_accepts_loss_kwargs = flag == "on"
        inner = trainer.training_step

        def spy(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            count = args[0] if args else kwargs.get("num_items_in_batch")
            counts.append(None if count is None else float(count))
            batches.append(dict(inputs))
            return inner(model, inputs, *args, **kwargs)

        if watch:
            trainer.training_step = spy
        probe = Probe(trainer, shifts=True, observed_steps=observed_steps) if watch else None
        torch.manual_seed(1)
        trainer.train()
    log = list(trainer.state.log_history)
    return Training(weights_of(model), torch.get_rng_state(), log, probe, counts, batches)


@pytest.fixture(scope="module")
def material() -> Bench:
    return bench(tiny_model(), max_steps=3)


@pytest.fixture(autouse=True)
def no_traces() -> Iterator[None]:
    """Reset accelerate's process-wide state after each test: precision would leak into the next."""
    snapshot = Snapshot(torch.nn.Identity())
    yield
    snapshot.remove_traces()


def fresh(dropout: float = 0.0) -> PreTrainedModel:
    return tiny_model(attention_dropout=dropout)


def test_dropout_would_show() -> None:
    # The control: with dropout on, an undisturbed random state is what makes two trainings equal.
    model, ids = fresh(0.1).train(), torch.full((1, 16), 5)
    assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


@pytest.mark.parametrize(
    ("k", "flag", "bf16"), [(1, "off", True), (1, "on", False), (4, "off", False), (4, "on", True)]
)
def test_watching_changes_no_bit(material: Bench, k: int, flag: str, bf16: bool) -> None:
    bare = train(material, fresh(0.1), k, flag, watch=False, bf16=bf16)
    watched = train(material, fresh(0.1), k, flag, watch=True, observed_steps=2, bf16=bf16)
    assert same_weights(bare.weights, watched.weights)
    assert torch.equal(bare.random, watched.random)
    assert not same_weights(bare.weights, weights_of(fresh()))
    assert watched.probe is not None
    losses = [entry["loss"] for entry in bare.log if "loss" in entry]
    assert losses == [entry["loss"] for entry in watched.log if "loss" in entry]


@pytest.mark.parametrize(("k", "flag"), [(1, "on"), (4, "on"), (4, "off")])
def test_what_is_noted_is_what_the_trainer_did(material: Bench, k: int, flag: str) -> None:
    done = train(material, fresh(), k, flag, watch=True)
    assert done.probe is not None
    steps = done.probe.steps
    assert [step.step for step in steps] == [1, 2, 3]
    assert [len(step.micro_batches) for step in steps] == [k] * 3
    micro_batches = [m for step in steps for m in step.micro_batches]
    assert [m.num_items_in_batch for m in micro_batches] == done.counts
    assert flag == "off" or None not in done.counts

    reported = [sum(m.reported_loss_nats for m in step.micro_batches) for step in steps]
    logged = [entry for entry in done.log if "loss" in entry]
    # Older releases round what they log to four digits; the mean at the end is whole everywhere.
    assert [entry["loss"] for entry in logged] == pytest.approx(reported, abs=6e-5)
    [mean] = [entry["train_loss"] for entry in done.log if "train_loss" in entry]
    assert mean == pytest.approx(sum(reported) / 3, rel=1e-6)
    norms = [entry["grad_norm"] for entry in logged]
    assert norms == pytest.approx([step.grad_norm for step in steps], rel=1e-5)


def test_norm_is_taken_before_clipping(material: Bench) -> None:
    whole, clipped = (train(material, fresh(), 4, "on", watch=True, max_grad_norm=norm) for norm in (NEVER_CLIPS, 1e-3))
    assert whole.probe is not None
    assert clipped.probe is not None
    assert whole.probe.steps[0].grad_norm == clipped.probe.steps[0].grad_norm
    assert (whole.probe.steps[0].grad_norm or 0) > 1e-2


@pytest.mark.parametrize("observed_steps", [0, 2])
def test_observations_are_of_the_first_steps(material: Bench, observed_steps: int) -> None:
    done = train(material, fresh(), 4, "on", watch=True, observed_steps=observed_steps)
    assert done.probe is not None
    assert [s.micro_batches[0].observation is not None for s in done.probe.steps] == [
        number < observed_steps for number in range(3)
    ]
    seen = [m.observation for s in done.probe.steps for m in s.micro_batches]
    for batch, observation in zip(done.batches, seen, strict=True):
        if observation is None:
            continue
        assert observation.rows == batch_fingerprints(batch)
        labels = batch["labels"].ne(-100)
        assert (observation.num_label_tokens, observation.num_target_tokens) == (labels.sum(), labels[:, 1:].sum())
        assert observation.sum_nats is not None
        assert observation.weight is not None
        assert observation.weight * observation.sum_nats == pytest.approx(observation.backward_loss_nats, rel=1e-5)
        assert (observation.weight_spread or 0) < 1e-5
        assert observation.own_mean_nats is None


def test_gradient_norm_by_hand() -> None:
    model = torch.nn.Linear(2, 1)
    assert gradient_norm(model) is None
    model.weight.grad = torch.tensor([[1.0, 2.0]])
    assert gradient_norm(model) == pytest.approx(5**0.5)
    model.bias.grad = torch.tensor([2.0])
    assert gradient_norm(model) == pytest.approx(3.0)


def test_no_hook_stays(material: Bench) -> None:
    model = fresh()
    train(material, model, 1, "on", watch=True)
    assert not model._forward_hooks
