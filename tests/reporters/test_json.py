"""The JSON contract: other programs read these keys. Keys may be added to this tree, never renamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gacheck.reporters.json_report import render_json
from gacheck.words.analysis import analyse
from tests.reporters.cases import HOSTILE, KS, RECORDS, TAIL_NOT_RUN

PASS_TREE = {
    "id": str,
    "accumulation_steps": int,
    "loss_kwargs": str,
    "status": str,
    "error": (str, None),
    "nonfinite": bool,
    "first_step": {
        "reported_loss": (float, None),
        "reference_loss": (float, None),
        "ratio": (float, None),
        "grad_norm": (float, None),
        "grad_norm_ratio": (float, None),
        "grad_cosine": (float, None),
        "worst_parameter": (str, None),
    },
    "objective": (str, None),
    "rule": (str, None),
    "match": {
        "relative_error": (float, None),
        "runner_up": (str, None),
        "runner_up_error": (float, None),
        "separation": (float, None),
        "backward_rule": (str, None),
        "gradient": (dict, None),
    },
    "steps": [
        {
            "step": int,
            "reported_loss": (float, None),
            "reference_loss": (float, None),
            "ratio": (float, None),
            "grad_norm": (float, None),
        }
    ],
    "heldout_loss": (float, None),
}

GRADIENT_TREE = {
    "rule": (str, None),
    "norm_ratio": float,
    "cosine": float,
    "worst_parameter": (str, None),
    "worst_relative_error": (float, None),
}

TAIL_TREE = {
    "id": str,
    "accumulation_steps": int,
    "loss_kwargs": str,
    "status": str,
    "error": (str, None),
    "nonfinite": bool,
    "steps": [
        {
            "step": int,
            "num_micro_batches": int,
            "rule": (str, None),
            "relative_error": (float, None),
            "backward_rule": (str, None),
        }
    ],
}

TREE: dict[str, Any] = {
    "kind": str,
    "schema_version": int,
    "complete": bool,
    "model": {
        "name": str,
        "class": str,
        "model_type": str,
        "num_parameters": int,
        "task": str,
        "stand_in": bool,
        "random_weights": (bool, None),
    },
    "environment": {
        "gacheck": str,
        "python": str,
        "platform": str,
        "torch": str,
        "transformers": str,
        "accelerate": str,
        "device": str,
        "device_name": str,
        "dtype": str,
        "autocast": (str, None),
        "world_size": int,
        "average_tokens_across_devices": (bool, None),
    },
    "loss_kwargs": {
        "declared": (bool, None),
        "inferred": bool,
        "auto": (bool, None),
        "used_num_items_in_batch": (bool, None),
    },
    "tolerance": {"loss": float, "gradient": (float, None)},
    "passes": [PASS_TREE],
    "tail_passes": [TAIL_TREE],
    "divergence": [
        {
            "accumulation_steps": int,
            "first_step_on_minus_off": (float, None),
            "first_step_ratio": (float, None),
            "max_abs_on_minus_off": (float, None),
        }
    ],
    "evaluation": (dict, None),
    "attached": (dict, None),
    "verdict": {
        "code": str,
        "codes": [str],
        "severity": str,
        "auto_rule": (str, None),
        "affects": str,
        "better_flag": (str, None),
        "remaining": (str, None),
        "summary": str,
        "cause": str,
        "certainty": str,
        "compared": str,
        "impact": str,
        "fix": str,
        "notes": [str],
        "docs": str,
        "remedy": {
            "trainer": (str, None),
            "model_class": (str, None),
            "llamafactory": (str, None),
            "trl": (str, None),
        },
    },
}


def render(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(render_json(analyse(RECORDS[name])), parse_constant=pytest.fail)
    return document


def check(value: Any, tree: Any, place: str) -> None:
    if isinstance(tree, dict):
        assert list(value) == list(tree), place
        for key, below in tree.items():
            check(value[key], below, f"{place}.{key}")
    elif isinstance(tree, list):
        assert isinstance(value, list), place
        for item in value:
            check(item, tree[0], f"{place}[]")
    else:
        kinds = tree if isinstance(tree, tuple) else (tree,)
        assert (None if value is None else type(value)) in kinds, f"{place}: {value!r}"


@pytest.mark.parametrize("name", RECORDS)
def test_has_the_contract_and_nothing_else(name: str) -> None:
    assert render_json(analyse(RECORDS[name])).isascii()
    document = render(name)

    check(document, TREE, name)
    for p in document["passes"]:
        if p["match"]["gradient"] is not None:
            check(p["match"]["gradient"], GRADIENT_TREE, p["id"])


def test_check_can_fail() -> None:
    document = render("scaled")
    del document["passes"][3]["match"]["separation"]
    with pytest.raises(AssertionError):
        check(document, TREE, "spoiled")


def test_values_of_a_known_run() -> None:
    document = render("scaled")
    passes = {p["id"]: p for p in document["passes"]}
    # k=2: means 302/60 and 213/40 summed, against 515/100.
    assert passes["k2-on"]["first_step"]["reported_loss"] == pytest.approx(302 / 60 + 213 / 40)
    assert passes["k2-on"]["first_step"]["reference_loss"] == pytest.approx(5.15)
    assert passes["k2-on"]["rule"] == passes["k2-on"]["match"]["backward_rule"] == "sum_of_means"
    assert passes["k1-on"]["rule"] == "token_mean"
    # The next best, 2 × 302/100 and 2 × 213/100, is 302/60 / (604/100) - 1 = -1/6 and 213/40 / (426/100) - 1 = 1/4 off.
    assert passes["k2-on"]["match"]["runner_up"] == "token_mean*k"
    assert passes["k2-on"]["match"]["runner_up_error"] == pytest.approx(1 / 4)
    assert passes["k2-on"]["objective"] == "plain"
    assert passes["k2-on"]["match"]["gradient"] is None
    assert document["tail_passes"] == []
    assert document["divergence"][1]["first_step_ratio"] == pytest.approx(2)
    assert document["verdict"]["code"] == "SCALED_BY_ACCUMULATION"
    assert document["verdict"]["better_flag"] == "off"
    assert document["complete"] is True


def test_what_has_not_run_is_skipped() -> None:
    document = render("partial")
    assert document["complete"] is False
    skipped = [p for p in document["passes"] if p["status"] == "skipped"]
    assert [p["id"] for p in skipped] == ["k2-off", "k4-off", "k8-off"]
    assert len(document["passes"]) == 2 * len(KS)
    assert set(skipped[0]["first_step"].values()) == {None}
    assert skipped[0]["steps"] == []
    tails = json.loads(render_json(analyse(TAIL_NOT_RUN)))["tail_passes"]
    assert [(tail["id"], tail["status"]) for tail in tails] == [("k4-on-tail", "skipped"), ("k4-off-tail", "skipped")]


def test_not_finite_is_null() -> None:
    spoiled = render("nan")["passes"][0]
    assert spoiled["nonfinite"] is True
    assert spoiled["first_step"]["reported_loss"] is None
    assert spoiled["first_step"]["grad_norm"] is None
    assert spoiled["steps"][0]["reported_loss"] is None
    assert spoiled["steps"][1]["reported_loss"] == pytest.approx(5.15)


def test_failed_pass_says_why() -> None:
    failed = render("refused")["passes"][0]
    assert failed["status"] == "failed"
    assert failed["error"].startswith("TypeError: forward() got")


def test_hostile_words_come_back_whole() -> None:
    assert render("hostile")["model"]["name"] == HOSTILE


def test_a_combination_its_objective_and_its_gradient() -> None:
    passes = {p["id"]: p for p in render("router")["passes"]}

    assert (passes["k4-on"]["rule"], passes["k4-on"]["objective"]) == ("token_mean+aux_loss_sum", "auxiliary")
    assert passes["k4-on"]["match"]["backward_rule"] == "token_mean"
    # The gradient is that of the losses' rule, in every parameter.
    assert passes["k4-on"]["match"]["gradient"] == {
        "rule": "token_mean+aux_loss_sum",
        "norm_ratio": pytest.approx(1),
        "cosine": pytest.approx(1),
        "worst_parameter": None,
        "worst_relative_error": None,
    }
    # S_m / (k n_m) + a_m / k is the mean of means of the model's own loss.
    assert (passes["k4-off"]["rule"], passes["k4-off"]["objective"]) == ("mean_of_means", "own")


def test_a_gradient_of_no_rule_and_where_it_is_furthest_off() -> None:
    # Twice as large as the losses' rule has it, in the one parameter that is told of.
    passes = {p["id"]: p for p in render("strange gradient")["passes"]}

    assert passes["k4-on"]["match"]["gradient"] == {
        "rule": None,
        "norm_ratio": pytest.approx(2),
        "cosine": pytest.approx(1),
        "worst_parameter": "model.layers.0.mlp.weight",
        "worst_relative_error": pytest.approx(1),
    }
    assert passes["k4-on"]["first_step"]["worst_parameter"] == "model.layers.0.mlp.weight"
    # Of the right one, whose norm it has twice, it has the direction.
    assert passes["k4-on"]["first_step"]["grad_cosine"] == pytest.approx(1)
    # Where it was not measured nothing is said.
    assert passes["k4-off"]["match"]["gradient"] is None
    assert passes["k4-off"]["first_step"]["grad_cosine"] is None


def test_the_end_of_an_epoch_stands_apart() -> None:
    document = render("tail")

    # The pass at k = 4 with the flag on is yet to run: its tail is none.
    assert [(p["id"], p["status"]) for p in document["passes"]][2:] == [("k2-on", "ok"), ("k4-on", "skipped")]
    assert not any(p["id"].endswith("tail") for p in document["passes"])
    (off, on) = sorted(document["tail_passes"], key=lambda p: p["loss_kwargs"])
    assert (off["id"], off["status"]) == ("k4-off-tail", "ok")
    assert [(s["num_micro_batches"], s["rule"]) for s in off["steps"]] == [(3, "short_step_over_k")]
    assert (on["status"], on["error"], on["steps"]) == ("failed", "OutOfMemoryError: out of memory", [])


def test_a_pass_that_was_not_matched_has_no_objective() -> None:
    assert [p["objective"] for p in render("refused")["passes"]] == [None] * 4 + ["plain"] * 4
    assert {p["objective"] for p in render("partial")["passes"] if p["status"] == "skipped"} == {None}
