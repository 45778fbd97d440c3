"""The truth about drawn trainings, and that it owes nothing to what is tried."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.trials.building import make_model, make_trainer
from tests.trials.draw import ATTACH, Draw
from tests.trials.drawing import draw
from tests.trials.faults import FAULTS
from tests.trials.heads import HEADS
from tests.trials.objectives import OBJECTIVES
from tests.trials.quiet import quiet
from tests.trials.right_steps import NoTruth, Step
from tests.trials.truth import BOUNDS, Bounds, StepTruth, Truth, _mapped, find_truth

HERE = Path(__file__).parent
KNOW_GACHECK = {"doors.py", "judging.py"}
RIGHT, WRONG = range(0, 2 * len(OBJECTIVES), 2), range(1, 2 * len(FAULTS), 2)
PLAIN = Draw(
    seed=3,
    objective="cross-entropy of the model",
    fault=None,
    body="Llama",
    data="rows of unequal length",
    precision="float32",
    door=ATTACH,
    k=4,
    rows=2,
    tail=4,
)


OF_HEAD = {body: o.name for o in OBJECTIVES.values() if "head" in o.traits for body in o.bodies}


def truth_of(drawn: Draw) -> Truth:
    objective = OBJECTIVES[drawn.objective]
    made = objective.build(drawn)
    if drawn.fault is not None:
        FAULTS[drawn.fault].plant(made)
    with quiet():
        return find_truth(
            make_trainer(made),
            make_model(objective.build(drawn)),
            objective.part(drawn),
            BOUNDS[drawn.precision],
            autocast=drawn.precision == "bfloat16 autocast",
            calls_matter=objective.calls_matter,
        )


def small(drawn: Draw) -> Draw:
    """Let a training be shorter."""
    k, rows = min(drawn.k, 3), min(drawn.rows, 2)
    return replace(drawn, k=k, rows=rows, tail=k if drawn.tail == drawn.k else 1, missing=min(drawn.missing, rows - 1))


def clear_truth_of(seed: int, precision: str) -> tuple[Draw, Truth]:
    """Draw until the truth is clear, as a trial does, through doors that bring no data of their own."""
    for attempt in range(40):
        drawn = draw(seed, attempt)
        if drawn.vocabulary != PLAIN.vocabulary or (drawn.body == "Mixtral" and precision == "float64 weights"):
            continue
        try:
            truth = truth_of(replace(small(drawn), precision=precision))
        except NoTruth:
            continue
        if truth.label == "right" if drawn.fault is None else truth.label == "wrong":
            return drawn, truth
        assert drawn.fault is not None, (drawn, truth)
    raise AssertionError(f"seed {seed} has no clear truth")


def test_every_objective_and_every_fault_has_its_turn() -> None:
    assert {draw(seed).objective for seed in RIGHT} == set(OBJECTIVES)
    assert {draw(seed).fault for seed in WRONG} == set(FAULTS)
    assert all(draw(seed).fault is None for seed in RIGHT)


@pytest.mark.parametrize("seed", RIGHT, ids=lambda seed: draw(seed).objective)
def test_a_right_training_is_right(seed: int) -> None:
    clear_truth_of(seed, "float32")


@pytest.mark.parametrize("seed", RIGHT[::6], ids=lambda seed: draw(seed).objective)
@pytest.mark.parametrize("precision", ["bfloat16 autocast", "bfloat16 weights", "float64 weights"])
def test_a_right_training_is_right_in_every_precision(seed: int, precision: str) -> None:
    clear_truth_of(seed, precision)


@pytest.mark.parametrize("seed", WRONG, ids=lambda seed: draw(seed).fault)
def test_a_fault_is_wrong_where_it_is_said_to_be(seed: int) -> None:
    drawn, truth = clear_truth_of(seed, "float32")
    assert drawn.fault is not None
    fault = FAULTS[drawn.fault]

    # Weights that moved too early change the log as well.
    also = "both" if drawn.fault == "an optimizer step at every micro-batch" else fault.affects
    assert truth.affects in (fault.affects, also) or fault.affects == "both"
    if fault.late:
        assert truth.first(1).label == "right"


@pytest.mark.parametrize(("objective", "data"), [("cross-entropy of the model", "rows of unequal length")])
def test_the_right_step_is_that_of_all_rows_at_once(objective: str, data: str) -> None:
    drawn = replace(PLAIN, objective=objective, data=data)
    trainer = make_trainer(OBJECTIVES[objective].build(drawn))
    batches = list(torch.utils.data.DataLoader(trainer.train_dataset, batch_size=2, collate_fn=trainer.data_collator))
    [at_once] = torch.utils.data.DataLoader(trainer.train_dataset, batch_size=16, collate_fn=trainer.data_collator)
    model = trainer.model
    part = OBJECTIVES[objective].part(drawn)

    parts = sum(float(part(model, batch, Step(batches))) for batch in batches)

    assert parts == pytest.approx(float(model(**at_once).loss), rel=1e-6)


def test_a_loss_times_k_is_off_by_k_in_log_and_gradient() -> None:
    truth = truth_of(replace(PLAIN, fault="the model drops the count", data="packed"))

    for step in truth.steps:
        assert step.logged / step.right == pytest.approx(4, rel=1e-5)
        assert step.gradient_error == pytest.approx(3, rel=1e-5)
        assert step.parameter_error == pytest.approx(3, rel=1e-4)


def test_one_parameter_is_told_by_name() -> None:
    step = truth_of(replace(PLAIN, fault="one parameter × 4")).steps[0]

    assert step.parameter_error == pytest.approx(3, rel=1e-5)
    assert step.gradient_error < 3
    made = OBJECTIVES[PLAIN.objective].build(PLAIN)
    assert step.parameter in dict(make_model(made).named_parameters())


def test_the_same_draw_has_the_same_truth() -> None:
    assert truth_of(PLAIN) == truth_of(PLAIN)
    assert draw(7, 1) == draw(7, 1)
    assert draw(7, 1) != draw(7, 2)


@pytest.mark.parametrize(
    ("logged", "gradient", "parameter", "log", "whole"),
    [
        (2.0, 0.0, 0.0, "right", "right"),
        (2.0 + 1e-4, 0.0, 0.0, "between", "right"),
        (2.1, 0.0, 0.0, "wrong", "right"),
        (float("nan"), 0.0, 0.0, "wrong", "right"),
        (2.0, 0.0, 0.5, "right", "wrong"),
        (2.0, 5e-4, 5e-4, "right", "between"),
        (2.0, float("nan"), 0.0, "right", "wrong"),
    ],
)
def test_labels(logged: float, gradient: float, parameter: float, log: str, whole: str) -> None:
    bounds = Bounds(loss=(1e-5, 1e-3), gradient=(3e-4, 1e-3), nats=(1e-6, 1e-5))
    truth = Truth((StepTruth(logged, 2.0, gradient, parameter, "x", 4),), bounds)

    assert (truth.log, truth.gradient) == (log, whole)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_s_loss_in_plain_torch_is_its_own(name: str) -> None:
    drawn = replace(PLAIN, body=name, data=HEADS[name].data[0], objective=OF_HEAD[name], rows=4)
    made = OBJECTIVES[drawn.objective].build(drawn)
    trainer, model = make_trainer(made), make_model(made).eval()
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])

    outputs = model(**batch)
    mean = HEADS[name].total(outputs, batch) / (1 if HEADS[name].unit == "step" else HEADS[name].number(batch))

    assert float(mean) == pytest.approx(float(outputs["loss"]), rel=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_no_head_drops_out_but_those_that_say_so(name: str) -> None:
    drawn = replace(PLAIN, body=name, data=HEADS[name].data[0], objective=OF_HEAD[name])
    model = make_model(OBJECTIVES[drawn.objective].build(drawn)).train()
    rates = [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    rates += [v for m in model.modules() for n, v in vars(m).items() if "drop" in n and isinstance(v, float)]

    assert any(rates) is name.endswith("dropout")


def test_inputs_of_any_structure_are_copied_whole() -> None:
    inputs = {"sides": [{"ids": torch.zeros(2)}], "name": "x"}

    copied = _mapped(torch.clone, inputs)
    inputs["sides"][0]["ids"].add_(1)  # type: ignore[index]

    assert copied["sides"][0]["ids"].tolist() == [0, 0]
    assert copied["name"] == "x"


def test_a_step_without_targets_has_no_truth() -> None:
    batch = {"labels": torch.full((2, 5), -100)}
    with pytest.raises(NoTruth):
        _ = Step([batch]).num_targets


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def test_only_the_doors_know_gacheck() -> None:
    modules = [path for path in HERE.rglob("*.py") if not path.name.startswith("test_")]

    assert len(modules) > 10
    assert {path.name for path in modules if "gacheck" in imported(path)} <= KNOW_GACHECK
    truth = {path.stem for path in modules if f"tests.trials.{path.stem}" in (HERE / "truth.py").read_text()}
    assert truth == {"right_steps"}
