"""Pretraining with LLaMA-Factory 0.9.3, which is bound to a transformers with faults; for some models it sets the flag.

A gemma3 whose folder has no processor is not among them: LLaMA-Factory refuses it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gacheck.rules.facts import Flag
from tests.integrations.factory_config import ARGUMENTS, losses_shown, write_config
from tests.integrations.trainings import Pair, check_same, check_seen, train_both

pytestmark = pytest.mark.integrations

ENVIRONMENT = "llamafactory-0.9.3"
PRETRAINING = {**ARGUMENTS, "stage": "pt", "dataset": "text", "max_steps": 4}
# Model → verdict, rule, the flag that the Trainer chose, the flag in force.
EXPECTED = {
    "llama": ("UNSHIFTED_TOKEN_COUNT", "unshifted_token_mean", True, "on"),
    "gemma3": ("MEAN_OF_MEANS", "mean_of_means", True, "off"),
}
BY_ITS_OWN_CODE = "set by the training's own code"


@pytest.fixture(scope="module")
def trained(material: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    @cache
    def train_it(model: str) -> Pair:
        made, folder = material(ENVIRONMENT), tmp_path_factory.mktemp(model)
        command = ("llamafactory-cli", "train", write_config(folder, made, model, PRETRAINING))
        return train_both(ENVIRONMENT, folder / "both", *command, DISABLE_VERSION_CHECK="1")

    return train_it


@pytest.mark.parametrize("model", EXPECTED)
def test_the_training_is_the_same(trained: Any, model: str) -> None:
    watched, alone = trained(model).watched, trained(model).alone
    check_same(watched, alone)
    assert losses_shown(watched.folder) == losses_shown(alone.folder)


@pytest.mark.parametrize("model", EXPECTED)
def test_verdict(trained: Any, model: str) -> None:
    watched = trained(model).watched
    check_seen(watched)
    code, rule, chosen, in_force = EXPECTED[model]
    analysis = watched.analysis
    assert (analysis.verdict.code, analysis.verdict.auto_rule) == (code, rule)
    (only,) = analysis.record.passes
    assert all(each.own_mean_nats is not None and each.gradient is not None for each in watched.observations)
    assert analysis.attached is not None
    assert (analysis.attached.setup.chosen_loss_kwargs, only.loss_kwargs) == (Flag.of(chosen), in_force)
    told = " ".join(watched.stderr.split())
    assert (BY_ITS_OWN_CODE in told) == (in_force == "off")
    assert analysis.record.setup.trainer_class == "llamafactory.train.pt.trainer:CustomTrainer"
    assert analysis.record.environment.packages["llamafactory"] == "0.9.3"
