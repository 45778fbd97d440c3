"""Every head at every door: the verdict is what a bare Trainer's loss and gradient demand, k = 4 against k = 1."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

import gacheck
from gacheck.config import ExperimentConfig
from gacheck.measure.experiment import measure_auto
from gacheck.measure.session import Session
from gacheck.rules.facts import Flag
from gacheck.words.analysis import Analysis, analyse
from tests.known.heads import HEADS, Head, K, bare_step

pytestmark = pytest.mark.usefixtures("no_traces")

# A loss that depends on padding or on the rows beside a row varies by less than this; k = 4 is far from it.
NEARLY = 0.3
# The Trainer logs four decimals.
EXACTLY = 2e-4

each_head = pytest.mark.parametrize("head", HEADS, ids=lambda head: f"{head.class_name}, {head.rows.__code__.co_names}")


@cache
def truth(head_number: int) -> tuple[float, float, float]:
    """Return loss, gradient norm at k = 4 over those at k = 1, and the cosine of the two gradients."""
    head = HEADS[head_number]
    one, several = bare_step(head, 1), bare_step(head, K)
    cosine = float(one.gradient @ several.gradient / (one.gradient.norm() * several.gradient.norm()))
    return several.loss / one.loss, float(several.gradient.norm() / one.gradient.norm()), cosine


def is_scaled(head: Head) -> bool:
    loss, gradient, _ = truth(HEADS.index(head))
    scaled = abs(loss / K - 1) < NEARLY
    assert scaled == (abs(gradient / K - 1) < NEARLY)
    assert scaled or (abs(loss - 1) < NEARLY and abs(gradient - 1) < NEARLY)
    return scaled


def is_exact(head: Head) -> bool:
    """Whether the step is that of k = 1, or no grouping gives exactly that."""
    loss, gradient, cosine = truth(HEADS.index(head))
    return head.depends or (abs(loss - 1) < EXACTLY and abs(gradient - 1) < EXACTLY and 1 - cosine < EXACTLY)


def demand(head: Head, analysis: Analysis) -> None:
    verdict = analysis.verdict
    if is_scaled(head):
        assert verdict.code == "SCALED_BY_ACCUMULATION", verdict.words
        assert verdict.affects == "both"
        # With the line of code that computes the loss, and a fix that was tried.
        assert ".py:" in verdict.words.cause
        if analysis.flag.auto is Flag.ON:
            assert "model_accepts_loss_kwargs = False" in verdict.words.fix
            assert "ried" in verdict.words.fix
        else:
            assert "Upgrade transformers" in verdict.words.fix
    elif is_exact(head):
        assert analysis.ok, verdict.words
    else:
        # Short micro-batches weigh too much, which is no fault of scale.
        assert verdict.code == "MEAN_OF_MEANS", verdict.words
        assert "not tried" not in verdict.words.fix


@each_head
def test_run_of_what_was_saved(head: Head, tmp_path: Path) -> None:
    head.model().save_pretrained(tmp_path)
    options = {"model": str(tmp_path), "gradient_accumulation_steps": (K,), "max_steps": 2, "max_length": 32}
    config = ExperimentConfig.model_validate(options)
    record = measure_auto(config, Session(config))

    assert record.model.class_name == head.class_name
    demand(head, analyse(record))


@each_head
def test_check_of_a_model(head: Head) -> None:
    demand(head, gacheck.check(head.model()))


@each_head
def test_check_of_a_trainer(head: Head) -> None:
    demand(head, gacheck.check(head.trainer(K, num_steps=2)))
