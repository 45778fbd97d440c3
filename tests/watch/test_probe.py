"""Being watched changes no bit of a training, and what is noted is what the Trainer did."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from random import SystemRandom
from typing import Any

import pytest
import torch
import transformers
from packaging.version import Version
from transformers import PreTrainedModel, Trainer, TrainingArguments

from gacheck.core.finding import GRADIENT_AGREES, agrees
from gacheck.rules.explain import Explanation, explain
from gacheck.rules.facts import StepRecord
from gacheck.rules.gradients import GradientError, gradient_error, multiple, multipliers
from gacheck.rules.steps import Hypothesis
from gacheck.watch.batches import batch_fingerprints
from gacheck.watch.probe import Probe, gradient_norm
from tests.measure.modelling import Bench, bench, same_weights, tiny_model, weights_of
from tests.watch.test_replays import TWO_PAIRS, Preferred
from tests.watch.toys import BATCHES, Inputs, ToyModel, ToyTrainer, same_state, state_of

pytestmark = pytest.mark.usefixtures("no_traces")

NEVER_CLIPS = 1e9

# Two rows, of which three labels and one are scored.
TWO_ROWS: Inputs = {name: torch.cat([batch[name] for batch in BATCHES]) for name in BATCHES[0]}


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
    # The first micro-batch was done twice.
    first = 1 if watch and observed_steps else 0
    return Training(weights_of(model), torch.get_rng_state(), log, probe, counts[first:], batches[first:])


@pytest.fixture(scope="module")
def material() -> Bench:
    return bench(tiny_model(), max_steps=3)


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
        mean = observation.sum_nats / observation.num_target_tokens
        assert observation.own_mean_nats == pytest.approx(mean, rel=1e-6)
    assert [bool(step.gradients) for step in done.probe.steps] == [number < observed_steps for number in range(3)]
    assert done.probe.unseen == ()


def rule_of_this_release(done: Training, flag: str) -> str:
    """Name what this release's Trainer does with the flag: it may count labels unshifted, or not divide by k."""
    if flag == "off":
        divides = Version(transformers.__version__) >= Version("4.46.2")
        return "mean_of_means" if divides else "sum_of_means"
    shifted = sum(int(batch["labels"][:, 1:].ne(-100).sum()) for batch in done.batches[:4])
    return "token_mean" if done.counts[0] == shifted else "unshifted_token_mean"


@pytest.mark.parametrize("flag", ["on", "off"])
def test_the_gradient_of_the_trainer_is_that_of_its_rule(material: Bench, flag: str) -> None:
    done = train(material, fresh(0.1), 4, flag, watch=True, observed_steps=2)
    assert done.probe is not None
    for step in done.probe.steps[:2]:
        found, errors = judged(step, 4, done.probe)
        assert (found.hypothesis, found.rule.name) == ("plain", rule_of_this_release(done, flag))
        assert errors[0].relative < 1e-5
        assert all(error.relative < 1e-4 for error in errors)


# --- wrong gradients, on a Trainer of a few lines -----------------------------------------------------------------


def judged(step: StepRecord, k: int, probe: Probe) -> tuple[Explanation, list[GradientError]]:
    """Return what explains a step's losses, and how far its gradients are from that: of all, then of single ones."""
    found = explain(step.micro_batches, k, probe.resolution)
    assert found is not None
    multiplied = multipliers(found.rule, found.step, found.hypothesis, len(step.gradients[0].with_replays))
    assert multiplied is not None
    errors = [gradient_error(each, multiplied) for each in step.gradients]
    return found, [error for error in errors if error is not None]


def times(factor: float, *names: str) -> Tamper:
    """Multiply gradients by a factor: all of them, or those of some parameters."""

    def tamper(model: torch.nn.Module) -> None:
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and (not names or name in names):
                parameter.grad.mul_(factor)

    return tamper


Tamper = Callable[[torch.nn.Module], None]


class Tampered(ToyTrainer):
    """Does something to the gradients: before each micro-batch, and after the last of a step."""

    def __init__(
        self,
        after: Tamper | None = None,
        before: Tamper | None = None,
        *,
        only: int | None = None,
        counted: bool = True,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(ToyModel(dropout=0.5, smoothing=smoothing), counted=counted)
        self.after, self.before, self.only = after, before, only

    def training_step(self, model: Any, inputs: Inputs, num_items_in_batch: Any = None) -> torch.Tensor:
        is_wrong = self.only in (None, len(self.counts) // 2 + 1)
        if self.before is not None and is_wrong:
            self.before(model)
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.after is not None and is_wrong and self.accelerator.sync_gradients:
            self.after(model)
        return loss


def watched(trainer: ToyTrainer, observed_steps: int = 2, num_steps: int = 3, **options: Any) -> Probe:
    probe = Probe(trainer, shifts=None, observed_steps=observed_steps, **options)
    torch.manual_seed(1)
    trainer.train(num_steps)
    return probe


OBJECTIVES = pytest.mark.parametrize(
    ("counted", "smoothing", "rule", "hypothesis"),
    [
        (True, 0.0, "token_mean", "plain"),
        (False, 0.0, "mean_of_means", "plain"),
        (True, 0.3, "token_mean", "own"),
        (False, 0.3, "mean_of_means", "own"),
    ],
)


@OBJECTIVES
def test_a_gradient_that_nobody_touched_is_its_rule_s(
    counted: bool, smoothing: float, rule: str, hypothesis: Hypothesis
) -> None:
    probe = watched(Tampered(counted=counted, smoothing=smoothing))
    shares = (3 / 4, 1 / 4) if counted else (1 / 2, 1 / 2)

    assert [bool(step.gradients) for step in probe.steps] == [True, True, False]
    for step in probe.steps[:2]:
        found, errors = judged(step, 2, probe)
        assert (found.hypothesis, found.rule.name) == (hypothesis, rule)
        assert all(error.relative < 1e-5 for error in errors)
        # … and micro-batch by micro-batch: by how much of its replay's the gradient grew.
        for m, share in zip(step.micro_batches, shares, strict=True):
            assert m.observation is not None
            assert m.observation.gradient is not None
            grown = multiple(m.observation.gradient, len(m.observation.gradient.with_replays) - 1)
            assert grown == (pytest.approx(share, rel=1e-5), pytest.approx(0, abs=1e-3))


@OBJECTIVES
@pytest.mark.parametrize(
    ("tamper", "ratio", "cosine", "relative"),
    [(times(2.0), 2, 1, 1), (times(-1.0), 1, -1, 2), (times(0.0), 0, 0, 1)],
    ids=["× 2", "× −1", "× 0"],
)
def test_a_gradient_that_somebody_multiplied(
    tamper: Tamper,
    ratio: float,
    cosine: float,
    relative: float,
    counted: bool,
    smoothing: float,
    rule: str,
    hypothesis: Hypothesis,
) -> None:
    probe = watched(Tampered(tamper, counted=counted, smoothing=smoothing))

    for step in probe.steps[:2]:
        found, [whole, *single] = judged(step, 2, probe)
        assert (found.hypothesis, found.rule.name) == (hypothesis, rule)
        assert (whole.norm_ratio, whole.cosine) == (pytest.approx(ratio, rel=1e-5), pytest.approx(cosine, rel=1e-5))
        assert whole.relative == pytest.approx(relative, rel=1e-5)
        assert whole.noise < 1e-5
        assert all(error.relative == pytest.approx(relative, rel=1e-3) for error in single)


@pytest.mark.parametrize("name", ["head.bias", "norm.weight", "embedding.weight"])
def test_a_single_parameter_s_gradient_is_named(name: str) -> None:
    probe = watched(Tampered(times(3.0, name)))

    for step in probe.steps[:2]:
        _, [whole, *single] = judged(step, 2, probe)
        off = [error for error in single if error.relative > 1e-3]
        assert whole.relative > 1e-3
        assert [error.parameter for error in off] == [name]
        assert off[0].norm_ratio == pytest.approx(3, rel=1e-4)
        assert off[0].cosine == pytest.approx(1, rel=1e-4)


def test_a_parameter_that_outweighs_all_others_is_named_too() -> None:
    # What comes nearest to such a gradient is off at the others: it is held against the rule of the losses.
    probe = watched(Tampered(times(300.0, "head.weight")))
    _, [_, *single] = judged(probe.steps[0], 2, probe)

    assert "head.weight" in [error.parameter for error in single if error.relative > 1e-3]


def test_in_half_a_precision_rounding_is_measured() -> None:
    # The gradient is a few thousandths off, as it is when the same is computed twice; a wrong one is off by more.
    def half(after: Tamper | None = None) -> Probe:
        trainer = Tampered(after)
        trainer.model.bfloat16()
        return watched(trainer)

    right, wrong = half(), half(times(1.1))
    for probe, is_right in ((right, True), (wrong, False)):
        whole, *single = judged(probe.steps[0], 2, probe)[1]
        assert whole.relative > GRADIENT_AGREES
        assert all(map(agrees, (whole, *single))) is is_right


def test_gradients_that_are_zeroed_before_each_micro_batch() -> None:
    probe = watched(Tampered(before=lambda model: model.zero_grad()))

    for step in probe.steps[:2]:
        found, [whole, *_] = judged(step, 2, probe)
        assert found.rule.right
        assert whole.norm_ratio < 0.9
        assert whole.relative > 0.3
        # What the step has is the last micro-batch's share alone.
        last = gradient_error(step.gradients[0], (0, 1 / 4))
        assert last is not None
        assert last.relative < 1e-5
        # It did not grow by that: what there was before is gone.
        seen = step.micro_batches[1].observation
        assert seen is not None
        assert seen.gradient is not None
        _, left = multiple(seen.gradient) or (0, 0)
        assert left > 0.1


def test_what_changes_gradients_between_two_micro_batches_counts_with_the_later() -> None:
    # As a callback may: the gradient of the first is doubled before the second comes.
    trainer = ToyTrainer(counted=True)
    probe = Probe(trainer, shifts=True)
    trainer.training_step(trainer.model, BATCHES[0], 4)
    times(2.0)(trainer.model)
    trainer.accelerator.sync_gradients = True
    trainer.training_step(trainer.model, BATCHES[1], 4)
    [step] = probe.steps
    grown = []
    for m in step.micro_batches:
        assert m.observation is not None
        assert m.observation.gradient is not None
        grown.append(multiple(m.observation.gradient))

    assert grown[0] == (pytest.approx(3 / 4, rel=1e-5), pytest.approx(0, abs=1e-3))
    assert grown[1] is not None
    assert grown[1][1] > 0.1
    assert judged(step, 2, probe)[1][0].relative > 0.1


def test_gradients_that_are_wrong_in_the_second_step_alone() -> None:
    probe = watched(Tampered(times(2.0), only=2))
    first, second = (judged(step, 2, probe)[1][0] for step in probe.steps[:2])

    assert first.relative < 1e-5
    assert second.norm_ratio == pytest.approx(2, rel=1e-5)


def test_gradients_that_were_not_put_to_zero_between_steps() -> None:
    def keep(model: torch.nn.Module) -> None:
        # What the step before had comes to this one's.
        for parameter in model.parameters():
            before = getattr(parameter, "kept", None)
            if parameter.grad is not None:
                parameter.grad += 0 if before is None else before
                parameter.kept = parameter.grad.clone()  # type: ignore[attr-defined]

    probe = watched(Tampered(keep))
    first, second = (judged(step, 2, probe)[1][0] for step in probe.steps[:2])

    assert first.relative < 1e-5
    assert second.relative > 0.3


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tampered(),
        lambda: Tampered(counted=False, smoothing=0.3),
        lambda: Tampered(times(2.0)),
        lambda: Tampered(times(-1.0), smoothing=0.3),
        lambda: Tampered(times(3.0, "head.bias")),
        lambda: Tampered(before=lambda model: model.zero_grad()),
        lambda: Tampered(times(2.0), only=2),
    ],
    ids=["right", "mean of means, smoothed", "× 2", "× −1, smoothed", "one parameter", "zeroed", "the second step"],
)
def test_watched_it_is_the_same_training_bit_for_bit(make: Callable[[], Tampered]) -> None:
    states, logs = [], []
    for is_watched in (False, True):
        trainer = make()
        if is_watched:
            probe = watched(trainer, locate=True)
            assert probe.unseen == ()
        else:
            torch.manual_seed(1)
            trainer.train(3)
        states.append(state_of(trainer))
        logs.append((trainer.log, trainer.books, trainer.counts))

    assert same_state(*states)
    assert logs[0] == logs[1]


def test_without_gradients_losses_alone_are_noted() -> None:
    probe = watched(Tampered(times(2.0)), gradients=False)

    assert [step.gradients for step in probe.steps] == [(), (), ()]
    seen = [m.observation for m in probe.steps[0].micro_batches if m.observation is not None]
    assert [o.gradient for o in seen] == [None, None]
    assert all(o.own_mean_nats is not None for o in seen)


class OwnStep(Tampered):
    """Does not ask its `compute_loss`, which says something else than what is trained."""

    def training_step(self, model: Any, inputs: Inputs, num_items_in_batch: Any = None) -> torch.Tensor:
        self.counts.append(num_items_in_batch)
        loss: torch.Tensor = model(**inputs, num_items_in_batch=num_items_in_batch).loss
        loss.backward()
        return loss.detach()

    def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
        return super().compute_loss(model, inputs, **kwargs) + model.head.weight.square().sum()


def test_a_compute_loss_that_the_step_does_not_ask_is_no_witness() -> None:
    trainer = OwnStep()
    probe = watched(trainer)
    seen = [m.observation for step in probe.steps[:2] for m in step.micro_batches]

    assert probe.own_loss.is_asked is False
    assert [o is not None and o.own_mean_nats is None for o in seen] == [True] * 4
    # Plain cross-entropy needs no witness.
    for step in probe.steps[:2]:
        found, errors = judged(step, 2, probe)
        assert (found.hypothesis, found.rule.name) == ("plain", "token_mean")
        assert errors[0].relative < 1e-5


def test_a_loss_that_is_not_the_same_twice_proves_nothing_and_says_so() -> None:
    class Restless(ToyModel):
        """Draws from where nobody can put it back."""

        def loss_of(self, *args: Any) -> torch.Tensor:
            return super().loss_of(*args) * (1 + SystemRandom().random())

    restless, still = ToyTrainer(Restless(), counted=True), ToyTrainer(counted=True)

    assert (watched(restless).repeat_error or 0) > 1e-6
    assert watched(still).repeat_error == 0


@pytest.mark.parametrize(
    ("trainer", "unit"),
    [(lambda: ToyTrainer(counted=True), None), (lambda: ToyTrainer(ToyModel(smoothing=0.3), counted=True), "tokens")],
    ids=["plain", "another objective"],
)
def test_the_unit_is_asked_of_another_objective_alone(trainer: Callable[[], ToyTrainer], unit: str | None) -> None:
    made = trainer()
    probe = Probe(made, shifts=True)
    made.train(1, (BATCHES[0], TWO_ROWS))

    assert probe.own_loss.unit == unit


def test_where_one_row_has_no_loss_pairs_are_asked() -> None:
    made = Preferred("rows")
    probe = Probe(made, shifts=True)
    made.train(1, (TWO_PAIRS, TWO_PAIRS))

    assert probe.own_loss.unit == "rows"


@pytest.mark.parametrize("k", [1, 2])
def test_whether_it_multiplies_by_k_is_asked_where_the_losses_are_not_right(k: int) -> None:
    class TimesK(ToyTrainer):
        def compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool = False, **kwargs: Any) -> Any:
            return super().compute_loss(model, inputs, **kwargs) * self.args.gradient_accumulation_steps

    probe = watched(TimesK(k=k))

    # Over k, as the Trainer does, each is its own mean.
    assert probe.own_loss.times_k is (None if k == 1 else True)
    found, errors = judged(probe.steps[0], k, probe)
    assert found.rule.name == ("token_mean" if k == 1 else "sum_of_means")
    assert errors[0].relative < 1e-5


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
