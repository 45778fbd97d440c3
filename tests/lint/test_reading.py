"""What is read of models is what they do: each is run with two counts, and the loss changes or it does not."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from gacheck.lint.finding import Finding
from gacheck.lint.lint import lint
from tests.lint import own_models

FILE = Path(own_models.__file__)
MODELS = {
    name: each
    for name, each in vars(own_models).items()
    if inspect.isclass(each) and each.__module__ == own_models.__name__ and hasattr(each, "forward") and name != "Base"
}
FINDINGS = {each.class_name: each for each in lint([str(FILE)]).findings}


def loss_at(model: Any, count: int) -> float:
    torch.manual_seed(0)
    inputs, labels = torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 1, 2])
    takes = inspect.signature(model.forward).parameters
    more = {} if list(takes) == ["inputs", "labels"] else {"num_items_in_batch": count}
    output = model(inputs, labels=labels, **more)
    loss = output["loss"] if isinstance(output, dict) else output[0] if isinstance(output, tuple) else output.loss
    return float(loss)


def uses_count(made: type) -> bool:
    torch.manual_seed(1)
    model = made()
    return loss_at(model, 10) != loss_at(model, 20)


def test_every_model_is_read() -> None:
    assert set(FINDINGS) == set(MODELS)


@pytest.mark.parametrize("name", [name for name, each in MODELS.items() if not hasattr(each, "UNDECIDED")])
def test_what_is_read_is_what_is_done(name: str) -> None:
    assert FINDINGS[name].answer == ("reaches" if uses_count(MODELS[name]) else "dropped"), FINDINGS[name]


@pytest.mark.parametrize("name", [name for name, each in MODELS.items() if hasattr(each, "UNDECIDED")])
def test_what_cannot_be_told_is_not_told(name: str) -> None:
    finding = FINDINGS[name]

    assert (finding.answer, finding.effect) == ("unknown", "unknown")
    assert finding.why


def test_both_answers_are_among_them() -> None:
    answers = [each.answer for each in FINDINGS.values()]

    assert min(answers.count(each) for each in ("reaches", "dropped", "unknown")) >= 5


def line_of(finding: Finding, index: int) -> str:
    line = finding.trail[index]
    return Path(line.file).read_text(encoding="utf-8").splitlines()[line.line - 1]


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("Uses", "loss = with_count(logits, labels, **kwargs)", "loss = loss / num_items_in_batch"),
        ("Drops", "self.criterion(logits.view(-1, 4), labels.view(-1))", "self.criterion("),
        (
            "HandsOnToNobody",
            "without(self.body(inputs), labels, **kwargs)",
            "return F.cross_entropy(",
        ),
        ("Pops", "return super().forward(inputs, labels=labels, **kwargs)", "F.cross_entropy"),
        ("Method", "return Output(self._loss(", ".div(num_items_in_batch)"),
    ],
)
def test_the_lines_are_those_of_the_model_and_of_the_loss(name: str, first: str, last: str) -> None:
    finding = FINDINGS[name]

    assert first in line_of(finding, 0)
    assert last in line_of(finding, -1)


def test_the_lines_name_their_functions() -> None:
    trail = FINDINGS["Uses"].trail

    assert [each.function for each in trail] == ["forward", "with_count"]
    for each in trail:
        tree = ast.parse(Path(each.file).read_text(encoding="utf-8"))
        owners = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == each.function]
        assert any(n.lineno <= each.line <= (n.end_lineno or 0) for n in owners)
