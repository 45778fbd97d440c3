"""Passes under the real Trainer: identities for stand-ins, planted faults for the mechanism, failures for the rest."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any, ClassVar

import pytest
import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

from gacheck.errors import ConfigError
from gacheck.measure.passes.trainers import training_arguments
from gacheck.record.parts import OracleRecord, PassRecord
from gacheck.record.plan import PassSpec
from gacheck.rules.facts import Flag
from gacheck.words.analysis import Analysis
from tests.measure.modelling import (
    INSTALLED,
    Bench,
    analysed,
    bench,
    opened,
    read,
    same_weights,
    small_config,
    tiny_model,
    weights_of,
)

K = 4


def rule_names(analysis: Analysis, flag: str) -> tuple[str | None, str | None]:
    """Return which rules explain all k jointly: of the loss, of the gradient."""
    [finding] = [f for f in analysis.findings if f.flag == flag]
    matches = (finding.forward, finding.backward)
    assert all(m is not None for m in matches)
    forward, backward = (m.rule.name if m is not None and m.rule else None for m in matches)
    return forward, backward


@pytest.mark.parametrize("model_type", INSTALLED)
def test_every_pass_is_explained_forward_and_backward(model_type: str) -> None:
    analysis = analysed(f"tiny:{model_type}")
    finished = [p for p in analysis.passes if p.status == "ok"]
    assert [(p.accumulation_steps, p.loss_kwargs) for p in analysis.passes if p not in finished] in (
        [],
        [(1, "on"), (4, "on")],
    )
    for figures in finished:
        forward, backward = figures.forward, figures.backward
        assert forward is not None
        assert backward is not None
        assert forward.rule is not None
        assert forward.rule == backward.rule
        assert max(forward.relative_error, backward.relative_error) < 1e-6
        if figures.accumulation_steps == K:
            assert (forward.runner_up_error or 0) > 1e-3
        elif forward.rule.name != "unshifted_token_mean":
            assert figures.ratio == pytest.approx(1, rel=1e-6)
            assert figures.grad_norm_ratio == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("model_type", INSTALLED)
def test_failed_passes_are_refusals(model_type: str) -> None:
    session_passes = analysed(f"tiny:{model_type}").record.passes
    refused = [p for p in session_passes if p.status == "failed"]
    assert all(p.error is not None and p.error.rejects_num_items_in_batch for p in refused)
    assert bool(refused) is (opened(f"tiny:{model_type}")[1].counted_loss_error is not None)
    assert len({p.auto_loss_kwargs for p in session_passes}) == 1


def test_a_pass_repeats_to_the_bit() -> None:
    session, oracle = opened("tiny:llama")
    first = next(p for p in analysed("tiny:llama").record.passes if p.id == "k4-on")
    again = session.run_pass(PassSpec(K, Flag.ON), oracle, lambda: None)
    assert without_time(again) == without_time(first)


class Planted(LlamaForCausalLM):  # type: ignore[misc]
    """Sums by its own hand; a subclass says what becomes of the sum."""

    # Of the first optimizer step: N and U. Of the second they are others.
    num_targets: ClassVar[int]
    num_labels: ClassVar[int]

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | None = None,
        # By this name, older releases choose the flag.
        **loss_kwargs: Any,
    ) -> Any:
        outputs = super().forward(input_ids=input_ids, attention_mask=attention_mask)
        nats = functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
        count = int(labels[:, 1:].ne(-100).sum())
        passed = count if num_items_in_batch is None else int(num_items_in_batch)
        # Some releases pass U.
        self.is_step = passed in (self.num_targets, self.num_labels)
        outputs["loss"] = self.normalise(nats, count, self.num_targets if self.is_step else passed)
        return outputs

    def normalise(self, nats: torch.Tensor, count: int, total: int) -> torch.Tensor:
        """Return the loss.

        Args:
            nats: The sum over the micro-batch.
            count: Its targets.
            total: Those of the step, where it was told them; else those of the micro-batch.
        """
        raise NotImplementedError


class Mean(Planted):
    """Drops num_items_in_batch: the fault that was reported."""

    def normalise(self, nats: torch.Tensor, count: int, total: int) -> torch.Tensor:
        return nats / count


class DeclaredMean(Mean):
    accepts_loss_kwargs = False


class OverTargets(Planted):
    def normalise(self, nats: torch.Tensor, count: int, total: int) -> torch.Tensor:
        return nats / total


class OverTheFirst(Planted):
    """Divides by the first step's count, whatever it is told: by itself a micro-batch has no mean."""

    def normalise(self, nats: torch.Tensor, count: int, total: int) -> torch.Tensor:
        return nats / self.num_targets


class OverLabels(Planted):
    def normalise(self, nats: torch.Tensor, count: int, total: int) -> torch.Tensor:
        return nats / (self.num_labels if self.is_step else total)


class Twice(Planted):
    def normalise(self, nats: torch.Tensor, count: int, total: int) -> torch.Tensor:
        return nats / total / K


class MeanOfMeans(Planted):
    def normalise(self, nats: torch.Tensor, count: int, total: int) -> torch.Tensor:
        return nats / count / K


class WrongLogAlone(Planted):
    """Reports its own mean, but its gradient is right."""

    def normalise(self, nats: torch.Tensor, count: int, total: int) -> torch.Tensor:
        right, reported = nats / total, nats / count
        return right + (reported - right).detach()


class WrongGradientAlone(Planted):
    def normalise(self, nats: torch.Tensor, count: int, total: int) -> torch.Tensor:
        right, trained = nats / total, nats / count
        return trained + (right - trained).detach()


class NoRule(Planted):
    def normalise(self, nats: torch.Tensor, count: int, total: int) -> torch.Tensor:
        return nats / total * (1 + count / 100 * self.is_step)


class Penalised(Planted):
    """Right at every k, but meant to be more than cross-entropy."""

    def normalise(self, nats: torch.Tensor, count: int, total: int) -> torch.Tensor:
        return (nats + 0.1 * count) / total


class NotANumber(Planted):
    def normalise(self, nats: torch.Tensor, count: int, total: int) -> torch.Tensor:
        return nats / count * torch.tensor(float("nan"))


@cache
def oracle_of(max_steps: int) -> OracleRecord:
    """Return what is right for the weights and rows of every planted model."""
    return bench(tiny_model(), max_steps=max_steps).runner.ask_oracle()


def plant(model_class: type[Planted], max_steps: int = 2) -> Bench:
    rows = oracle_of(max_steps).rows
    model_class.num_targets = sum(row.num_target_tokens for row in rows)
    model_class.num_labels = sum(row.num_label_tokens for row in rows)
    return bench(tiny_model(model_class), max_steps=max_steps)


@pytest.mark.parametrize(
    ("model_class", "forward", "backward", "code", "affects"),
    [
        (Mean, "sum_of_means", "sum_of_means", "SCALED_BY_ACCUMULATION", "both"),
        (OverTargets, "token_mean", "token_mean", "OK", "none"),
        (OverLabels, "unshifted_token_mean", "unshifted_token_mean", "UNSHIFTED_TOKEN_COUNT", "both"),
        (Twice, "token_mean_over_k", "token_mean_over_k", "DIVIDED_TWICE", "both"),
        (MeanOfMeans, "mean_of_means", "mean_of_means", "MEAN_OF_MEANS", "both"),
        (WrongLogAlone, "sum_of_means", "token_mean", "SCALED_BY_ACCUMULATION", "log"),
        (WrongGradientAlone, "token_mean", "sum_of_means", "SCALED_BY_ACCUMULATION", "gradient"),
        (NoRule, None, None, "UNEXPLAINED", "both"),
        (Penalised, "token_mean", "token_mean", "OTHER_OBJECTIVE", "none"),
    ],
)
def test_planted_fault_is_told(
    model_class: type[Planted], forward: str | None, backward: str | None, code: str, affects: str
) -> None:
    record = plant(model_class, max_steps=1).run(K, "on")
    analysis = read([record], oracle_of(1))
    assert record.auto_loss_kwargs is Flag.ON
    assert rule_names(analysis, "on") == (forward, backward)
    assert (analysis.verdict.code, analysis.verdict.affects) == (code, affects)


def test_what_is_right_in_the_first_step_alone_is_not_right() -> None:
    first, both = (read([plant(OverTheFirst, steps).run(K, "on")], oracle_of(steps)) for steps in (1, 2))
    assert first.ok
    assert both.verdict.severity == "fail"


def test_not_a_number_is_told() -> None:
    analysis = read([plant(NotANumber).run(K, "on")], oracle_of(2))
    assert analysis.verdict.code == "NONFINITE"


def test_flag_off_divides_as_this_release_does() -> None:
    # 4.46 divides by nothing, later releases by k: llama tells which this is.
    off, _ = rule_names(analysed("tiny:llama"), "off")
    expected = {"mean_of_means": "token_mean_over_k", "sum_of_means": "token_mean"}[off or ""]
    for model_class, wanted in ((Mean, off), (OverTheFirst, expected)):
        made = plant(model_class, max_steps=1)
        assert rule_names(read([made.run(K, "off")], oracle_of(1)), "off") == (wanted, wanted)


@pytest.mark.parametrize(("model_class", "flag"), [(Mean, "off"), (DeclaredMean, "on")])
def test_own_choice_of_the_flag_is_noted_before_it_is_set(model_class: type[Planted], flag: str) -> None:
    made = plant(model_class)
    record = made.run(K, flag)
    assert record.auto_loss_kwargs is made.runner.chosen_flag()
    assert model_class is DeclaredMean or record.auto_loss_kwargs is Flag.ON
    assert record.loss_kwargs == flag


class Halt(BaseException):
    """No `Exception`: it is to end the program."""


class Breaking(Mean):
    """Raises in training, at the second micro-batch and later, while `broken`."""

    broken: ClassVar[type[BaseException] | None] = None
    calls: ClassVar[int] = 0

    def normalise(self, nats: torch.Tensor, count: int, total: int) -> torch.Tensor:
        Breaking.calls += 1
        if self.broken and Breaking.calls > 3:
            raise self.broken("first line\n   second line")
        return super().normalise(nats, count, total)


def without_time(record: PassRecord) -> PassRecord:
    return record.model_copy(update={"seconds": 0.0})


@pytest.mark.parametrize("kind", [TypeError, Halt])
def test_failure_is_recorded_and_harms_no_later_pass(
    kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plant(Breaking)
    before, whole = weights_of(made.model), made.run()
    monkeypatch.setattr(Breaking, "broken", kind)
    monkeypatch.setattr(Breaking, "calls", 0)
    failed = made.run()
    assert (failed.status, failed.heldout_loss_nats) == ("failed", None)
    assert failed.error is not None
    assert failed.error.kind == kind.__name__
    said = f"Breaking.normalise raised {kind.__name__}: first line second line (tests/measure/passes/test_runner.py:"
    assert failed.error.message.startswith(said)
    assert not failed.error.rejects_num_items_in_batch
    assert same_weights(weights_of(made.model), before)
    assert all(p.grad is None for p in made.model.parameters())

    monkeypatch.setattr(Breaking, "broken", None)
    assert without_time(made.run()) == without_time(whole)


class Exiting(Mean):
    """Ends the program where it is trained, as a script may that is done."""

    def normalise(self, nats: torch.Tensor, count: int, total: int) -> torch.Tensor:
        sys.exit(0)


def test_a_model_that_ends_the_program_fails_its_pass() -> None:
    made = plant(Exiting)
    before, failed = weights_of(made.model), made.run()
    assert failed.error is not None
    assert (failed.status, failed.error.kind) == ("failed", "SystemExit")
    assert failed.error.message.startswith("Exiting.normalise called sys.exit(0) (")
    assert same_weights(weights_of(made.model), before)


class Strict(Mean):
    """Knows no argument that it does not need."""

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor, attention_mask: torch.Tensor) -> Any:  # type: ignore[override]
        return super().forward(input_ids, labels, attention_mask)


def test_refusal_of_the_count_is_told_from_other_errors() -> None:
    made = plant(Strict)
    refused, accepted = made.run(K, "on"), made.run(K, "off")
    assert refused.error is not None
    assert (refused.error.kind, refused.error.rejects_num_items_in_batch) == ("TypeError", True)
    assert accepted.status == "ok"
    assert refused.auto_loss_kwargs is accepted.auto_loss_kwargs is Flag.OFF
    analysis = read([refused], oracle_of(2))
    assert "LOSS_KWARGS_REJECTED" in analysis.findings[0].codes


def test_interruption_passes_through_and_leaves_the_weights() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    made = plant(Mean)
    before = weights_of(made.model)
    with pytest.raises(KeyboardInterrupt):
        made.run(step_done=interrupt)
    assert same_weights(weights_of(made.model), before)


def test_steps_are_told_as_they_are_done() -> None:
    done: list[None] = []
    record = plant(Mean).run(step_done=lambda: done.append(None))
    assert len(done) == len(record.steps) == 2


def test_options_that_the_trainer_refuses_are_explained() -> None:
    with pytest.raises(ConfigError, match="no-such-optimizer"):
        training_arguments(small_config(optim="no-such-optimizer"), 1, 1e-3, torch.device("cpu"), ".")
