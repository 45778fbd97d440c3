"""A Trainer under watch for its first steps: what is told when, for whom, and that it lets go."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from gacheck.rules.facts import Flag, MicroBatchRecord, Observation, WatchedTraining
from gacheck.rules.gradients import gradient_error
from gacheck.watch import watch as watching
from gacheck.watch.probe import micro_batch_from
from gacheck.watch.watch import Watch
from tests.watch.toys import BATCHES, IGNORED, Spied, ToyModel, ToyTrainer, same_state, state_of


class Told:
    """What a watch told: the facts, and whether they were the last."""

    def __init__(self) -> None:
        self.facts: list[WatchedTraining] = []
        self.lasts: list[bool] = []

    def __call__(self, facts: WatchedTraining, is_last: bool) -> None:
        self.facts.append(facts)
        self.lasts.append(is_last)


def watched(trainer: ToyTrainer, num_steps: int = 2, **options: Any) -> tuple[Watch, Told]:
    told = Told()
    return Watch(trainer, num_steps=num_steps, seen=told, **options), told


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_every_observed_step_is_told_and_the_last_is_called_so(num_steps: int) -> None:
    trainer = ToyTrainer()
    watch, told = watched(trainer, num_steps)
    trainer.train(3)
    watch.finish()

    assert told.lasts == [False] * (num_steps - 1) + [True]
    assert [[step.step for step in facts.steps] for facts in told.facts] == [
        list(range(1, number + 1)) for number in range(1, num_steps + 1)
    ]
    assert all(facts.num_steps == num_steps for facts in told.facts)
    assert all(m.observation is not None for step in told.facts[-1].steps for m in step.micro_batches)
    assert told.facts[-1].unseen == ()


def test_what_is_told_by_hand() -> None:
    trainer = ToyTrainer(k=2, counted=True)
    _, told = watched(trainer, 1, chosen_loss_kwargs=Flag.OFF)
    trainer.train(1)
    [facts] = told.facts
    [step] = facts.steps
    seen = [m.observation for m in step.micro_batches if m.observation is not None]

    # 3 and 1 of 4 targets, of 4 and 2 labels; each target weighs 1/4 and the reported loss is S/4.
    assert [(o.num_target_tokens, o.num_label_tokens) for o in seen] == [(3, 4), (1, 2)]
    assert [m.num_items_in_batch for m in step.micro_batches] == [4.0, 4.0]
    assert [o.weight for o in seen] == pytest.approx([0.25, 0.25], rel=1e-5)
    assert [m.reported_loss_nats for m in step.micro_batches] == pytest.approx([(o.sum_nats or 0) / 4 for o in seen])
    assert [o.backward_loss_nats for o in seen] == [m.reported_loss_nats for m in step.micro_batches]
    # By itself each means its mean, S over its own targets.
    assert [o.own_mean_nats for o in seen] == pytest.approx([(o.sum_nats or 0) / o.num_target_tokens for o in seen])
    assert [o.num_rows for o in seen] == [1, 1]
    assert (facts.shifts, facts.loss_kwargs, facts.chosen_loss_kwargs) == (True, Flag.ON, Flag.OFF)
    assert (facts.num_processes, facts.num_processes_seen) == (1, 1)
    assert facts.arguments == {"gradient_accumulation_steps": 2, "learning_rate": 0.01}
    assert facts.trainer_class == "tests.watch.toys:ToyTrainer"
    assert facts.num_parameters == sum(p.numel() for p in trainer.model.parameters())
    # The right loss needs no line to be fixed.
    assert facts.loss_location == ()
    assert all(0 < o.noise_nats < 1e-6 for o in seen)
    assert (0 < facts.resolution < 1e-6, facts.repeat_error) == (True, 0.0)
    # Nor does it ask for more than that.
    assert (facts.own_loss.unit, facts.own_loss.times_k, facts.own_loss.is_asked) == (None, None, True)


def test_where_the_loss_is_wrong_its_line_is_told() -> None:
    trainer = ToyTrainer(counted=False)
    _, told = watched(trainer)
    trainer.train(2)

    assert [line.function for line in told.facts[0].loss_location] == ["loss_of"]
    assert told.facts[1].loss_location == told.facts[0].loss_location


@pytest.mark.parametrize("smoothing", [0.0, 0.3], ids=["plain", "another objective"])
@pytest.mark.parametrize("counted", [True, False])
def test_the_training_is_the_same_bit_for_bit(counted: bool, smoothing: float) -> None:
    states, logs, books = [], [], []
    for is_watched in (False, True):
        trainer = ToyTrainer(ToyModel(dropout=0.5, smoothing=smoothing), counted=counted)
        torch.manual_seed(1)
        told = watched(trainer)[1] if is_watched else None
        trainer.train(3)
        states.append(state_of(trainer))
        logs.append(trainer.log)
        books.append(trainer.books)
    assert told is not None
    seen = [m.observation for step in told.facts[-1].steps for m in step.micro_batches]
    # The control: questions were asked, and with dropout they drew numbers.
    assert len(seen) == 4
    assert all(o is not None and o.own_mean_nats is not None and o.gradient is not None for o in seen)
    assert all(step.gradients for step in told.facts[-1].steps)

    assert same_state(*states)
    assert logs[0] == logs[1]
    assert books[0] == books[1]


def test_the_trainer_is_let_go_of_after_the_last_step() -> None:
    trainer = ToyTrainer()
    watch, told = watched(trainer, 1)
    assert "training_step" in vars(trainer)
    trainer.train(1)

    assert "training_step" not in vars(trainer)
    trainer.train(1)
    watch.finish()
    assert len(told.facts) == 1
    assert not trainer.model._forward_hooks


def test_a_training_step_of_the_instance_is_given_back() -> None:
    trainer = ToyTrainer()
    own = trainer.training_step
    trainer.training_step = own  # type: ignore[method-assign]
    watched(trainer, 1)
    assert trainer.training_step is not own
    trainer.train(1)

    assert trainer.training_step is own


def test_a_training_step_that_somebody_put_in_its_place_stays() -> None:
    trainer = ToyTrainer()
    watch, _ = watched(trainer, 1)

    def other(*args: Any) -> torch.Tensor:
        return ToyTrainer.training_step(trainer, *args)

    trainer.training_step = other  # type: ignore[method-assign]
    watch.let_go()

    assert vars(trainer)["training_step"] is other


def test_a_compute_loss_of_the_instance_is_given_back_after_every_step() -> None:
    trainer, bare = ToyTrainer(), ToyTrainer()
    own = trainer.compute_loss
    trainer.compute_loss = own  # type: ignore[method-assign]
    for each in (trainer, bare):
        watched(each, 1)
        each.training_step(each.model, BATCHES[0])

    assert vars(trainer)["compute_loss"] is own
    assert "compute_loss" not in vars(bare)


def test_a_training_that_ends_early_is_told_at_its_end() -> None:
    trainer = ToyTrainer()
    watch, told = watched(trainer, 5)
    trainer.train(2)
    assert told.lasts == [False, False]
    watch.finish()
    watch.finish()

    assert told.lasts == [False, False, True]
    assert len(told.facts[-1].steps) == 2
    assert "training_step" not in vars(trainer)


def test_a_training_without_a_step_is_told_too() -> None:
    trainer = ToyTrainer()
    watch, told = watched(trainer)
    watch.finish()

    assert (told.lasts, told.facts[0].steps, told.facts[0].unseen) == ([True], (), ())


def test_to_let_go_twice_is_to_let_go() -> None:
    # Who is told of the last step may want to let go because of what it shows.
    trainer = ToyTrainer()
    watch, _ = watched(trainer)
    watch.let_go()
    watch.let_go()

    assert "training_step" not in vars(trainer)


def test_what_who_is_told_raises_ends_the_training() -> None:
    trainer = ToyTrainer()

    def refuse(facts: WatchedTraining, is_last: bool) -> None:
        raise ValueError("a fault")

    Watch(trainer, num_steps=2, seen=refuse)
    with pytest.raises(ValueError, match="a fault"):
        trainer.train(2)
    assert trainer.log == []


def test_an_error_of_the_training_goes_through_and_the_step_begins_anew() -> None:
    trainer = ToyTrainer(k=2)
    _, told = watched(trainer, 1)
    trainer.training_step(trainer.model, BATCHES[0])
    with pytest.raises(TypeError):
        trainer.training_step(trainer.model, {**BATCHES[1], "unknown": torch.ones(1)})
    trainer.train(1)

    assert len(told.facts[0].steps[0].micro_batches) == 2


def fail(*args: Any, **kwargs: Any) -> Any:
    raise KeyError("watching is broken")


@pytest.mark.parametrize(
    "broken",
    [
        "gacheck.watch.probe.MicroBatchReader",
        "gacheck.watch.micro_batch.find_logits",
        "gacheck.watch.cross_entropy.LogitsReader._at_targets",
        "gacheck.watch.probe.explain",
        "gacheck.watch.probe.repeat",
        "gacheck.watch.probe.replay",
        "gacheck.watch.probe.gradient_norm",
        "gacheck.watch.probe.ReplayGradients.products",
        "gacheck.watch.probe.Sketcher.present",
        "gacheck.watch.replays.own_mean",
        "gacheck.watch.replays.measure",
        "gacheck.watch.sketches.Sketcher.of",
        "gacheck.watch.watch.describe_training",
    ],
)
def test_an_error_within_the_watch_is_told_and_the_training_is_the_same(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    states = []
    for is_watched in (False, True):
        trainer = ToyTrainer(ToyModel(dropout=0.5, smoothing=0.3))
        torch.manual_seed(1)
        if is_watched:
            watch, told = watched(trainer, 1)
            monkeypatch.setattr(broken, fail)
        trainer.train(2)
        states.append(state_of(trainer))
    assert same_state(*states)
    if broken.endswith("describe_training"):
        return  # nobody to tell it to
    watch.finish()

    [facts] = told.facts
    assert any("watching is broken" in text for text in facts.unseen)
    assert len(facts.steps) == 1
    assert [m.reported_loss_nats for m in facts.steps[0].micro_batches] != [0.0, 0.0]


@pytest.mark.parametrize("question", ["find_unit", "returns_k_times", "ask_location", "batch_fingerprints"])
def test_what_is_asked_besides_takes_nothing_from_the_step(monkeypatch: pytest.MonkeyPatch, question: str) -> None:
    states, told = [], Told()
    for is_watched in (False, True):
        trainer = ToyTrainer(ToyModel(dropout=0.5, smoothing=0.3))
        torch.manual_seed(1)
        if is_watched:
            Watch(trainer, num_steps=2, seen=told)
            asker = "probe" if question == "batch_fingerprints" else "questions"
            monkeypatch.setattr(f"gacheck.watch.{asker}.{question}", fail)
        trainer.train(2)
        states.append(state_of(trainer))
    facts = told.facts[-1]

    assert same_state(*states)
    assert facts.unseen == ()
    assert all(step.gradients for step in facts.steps)
    assert all(m.observation is not None for step in facts.steps for m in step.micro_batches)


def test_gradients_of_another_layout_are_seen_and_do_not_end_the_training() -> None:
    # Of an embedding whose gradient is sparse, and which is trained by an optimizer that knows them.
    trainer = ToyTrainer(counted=True)
    trainer.model.embedding = torch.nn.Embedding(5, 8, sparse=True)
    _, told = watched(trainer, 1)
    trainer.train(1)
    [step] = told.facts[0].steps

    assert (len(trainer.log), told.facts[0].unseen) == (1, ())
    error = gradient_error(step.gradients[0], (3 / 4, 1 / 4))
    assert error is not None
    assert error.relative < 1e-6


def test_an_unshifted_model_is_found_out() -> None:
    trainer = ToyTrainer(ToyModel(shifts=False))
    _, told = watched(trainer, 1)
    trainer.train(1)
    seen = [m.observation for m in told.facts[0].steps[0].micro_batches if m.observation is not None]

    assert not told.facts[0].shifts
    assert [(o.num_target_tokens, o.num_label_tokens) for o in seen] == [(4, 4), (2, 2)]


def test_a_micro_batch_that_scores_nothing_does_not_settle_it() -> None:
    nothing = {**BATCHES[0], "labels": torch.full((1, 4), IGNORED)}
    trainer = ToyTrainer(ToyModel(shifts=False), counted=True)
    _, told = watched(trainer, 1)
    trainer.train(1, (nothing, BATCHES[0]))

    assert not told.facts[0].shifts


# --- several processes -------------------------------------------------------------------------------------------


class Exchange:
    """Stands in for `World`: this process is 0 of 2, and the other tells what `others` makes of what this one tells.

    At the end of an observed step they tell each other their micro-batches, then the gradients of their replays.
    """

    def __init__(self, others: Callable[[list[Any]], list[Any]], answers: int = 100) -> None:
        self.rank, self.size = 0, 2
        self.told: list[Any] = []
        self._others = others
        self._answers = answers

    def exchange(self, facts: list[Any]) -> list[Any] | None:
        said = json.loads(json.dumps(facts))
        self.told.append(said)
        other = json.loads(json.dumps(facts))
        is_micro_batches = isinstance(other[0], dict)
        return [said, self._others(other) if is_micro_batches else other] if len(self.told) <= self._answers else None

    @property
    def num_asked(self) -> int:
        return len(self.told)


def as_process_1(facts: list[Any]) -> list[Any]:
    """The same micro-batches again, in the other process."""
    return [{**m, "process": 1} for m in facts]


def of_two(monkeypatch: pytest.MonkeyPatch, exchange: Exchange, trainer: ToyTrainer, steps: int = 1) -> Told:
    monkeypatch.setattr(watching, "World", lambda: exchange)
    _, told = watched(trainer, steps)
    trainer.train(steps)
    return told


def test_a_step_holds_the_micro_batches_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each divides by the count of its own 4 targets: of both, the mean of the processes' means, 1/(2·4).
    exchange = Exchange(as_process_1)
    told = of_two(monkeypatch, exchange, ToyTrainer(counted=True), steps=2)
    facts = told.facts[-1]

    assert [[m.process for m in step.micro_batches] for step in facts.steps] == [[0, 0, 1, 1]] * 2
    assert (facts.num_processes, facts.num_processes_seen, facts.unseen) == (2, 2, ())
    first = facts.steps[0].micro_batches
    assert [replace(m, process=0) for m in first[2:]] == list(first[:2])
    assert all(isinstance(m.observation, Observation) for m in first)
    assert exchange.num_asked == 4


def test_the_gradient_is_held_against_the_replays_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each has 3 and 1 of the 8 targets of both, and the gradient is the mean of the two processes', here the same.
    told = of_two(monkeypatch, Exchange(as_process_1), ToyTrainer(counted=True))
    [step] = told.facts[0].steps
    whole = step.gradients[0]

    assert len(whole.with_replays) == 4
    error = gradient_error(whole, (3 / 8, 1 / 8, 3 / 8, 1 / 8))
    assert error is not None
    assert error.relative < 1e-5
    # By how much the gradient of all grew in one micro-batch of one process, its own sketches do not tell.
    assert [m.observation and m.observation.gradient for m in step.micro_batches] == [None] * 4


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_all_tell_each_other_the_same_number_of_times(
    monkeypatch: pytest.MonkeyPatch, counted: bool, smoothing: float
) -> None:
    # Whatever they find: one that went on to ask alone would wait for an answer that does not come.
    exchange = Exchange(as_process_1)
    told = of_two(monkeypatch, exchange, ToyTrainer(ToyModel(smoothing=smoothing), counted=counted))
    seen = [m.observation for m in told.facts[0].steps[0].micro_batches]

    is_right = smoothing == 0.0 and counted
    # Whether any of them asks more, and then whether any finds that a row by itself has no loss.
    assert exchange.num_asked == (2 if is_right else 4)
    assert [o is not None and o.own_mean_nats is not None for o in seen] == [True] * 4


def test_of_several_processes_no_count_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    # The Trainer would multiply by their number: what a micro-batch means by itself is asked without.
    counts = Spied()

    class Asked(ToyTrainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
            counts.append(kwargs.get("num_items_in_batch"))
            return super().compute_loss(model, inputs, return_outputs, **kwargs)

    watched(alone := Asked(counted=True), 1)
    alone.train(1)
    # Alone the first is done once more as the training does it, and the replays have a count of their own: 3, then 1.
    assert list(map(int, counts[:])) == [4, 3, 4, 1, 4]

    told = of_two(monkeypatch, Exchange(as_process_1), Asked(counted=True))
    assert told.facts[0].unseen == ()
    # Of each micro-batch the replay's question, then the training's own, with the step's 4.
    assert counts[5:] == [None, 4, None, 4]


@pytest.mark.parametrize("factor", [1.0, 1.37])
def test_what_the_others_see_counts(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    # This process alone has nothing to ask: its losses are explained. Those of the other are, or they are not.
    def others(facts: list[Any]) -> list[Any]:
        return [{**m, "process": 1, "reported_loss_nats": m["reported_loss_nats"] * factor} for m in facts]

    told = of_two(monkeypatch, Exchange(others), ToyTrainer(counted=True))

    assert [line.function for line in told.facts[0].loss_location] == (["loss_of"] if factor != 1 else [])


def test_where_another_does_not_answer_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    told = of_two(monkeypatch, Exchange(as_process_1, answers=0), ToyTrainer(counted=True))
    facts = told.facts[0]

    assert [m.observation for m in facts.steps[0].micro_batches] == [None, None]
    assert facts.steps[0].gradients == ()
    assert (facts.num_processes, facts.num_processes_seen) == (2, 1)
    assert len(facts.unseen) == 1


def test_where_another_stops_answering_nothing_is_claimed_from_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    # It told its losses, and not its gradients: these cannot be judged by the half of them.
    told = of_two(monkeypatch, Exchange(as_process_1, answers=1), ToyTrainer(ToyModel(smoothing=0.3), counted=True))
    [step] = told.facts[0].steps

    assert {m.process for m in step.micro_batches} == {0, 1}
    assert all(m.observation is not None for m in step.micro_batches)
    assert step.gradients == ()
    # And what is not known is named, lest it pass for right.
    assert [text for text in told.facts[0].unseen if "did not tell its gradients" in text] == [*told.facts[0].unseen]
    assert told.facts[0].unseen


OBSERVATION = Observation(
    rows=("a", "b"),
    num_target_tokens=3,
    num_label_tokens=4,
    sum_nats=math.inf,
    own_mean_nats=None,
    weight=0.25,
    weight_spread=0.0,
)


@pytest.mark.parametrize("observation", [None, OBSERVATION])
@pytest.mark.parametrize("count", [None, 4.0])
def test_a_micro_batch_comes_through_json_as_it_was(observation: Observation | None, count: float | None) -> None:
    micro_batch = MicroBatchRecord(1.5, count, observation, process=1)

    assert micro_batch_from(json.loads(json.dumps(asdict(micro_batch)))) == micro_batch
