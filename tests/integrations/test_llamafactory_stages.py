"""The stages of LLaMA-Factory 0.9.5: the right ones are found right, unchanged, and a planted × k is caught."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, LlamaForCausalLM

from tests.integrations.factory_config import ARGUMENTS, losses_shown, write_config
from tests.integrations.trainings import (
    HERE,
    Pair,
    Training,
    attached,
    check_grouping,
    check_same,
    check_scaled,
    check_seen,
    train,
    train_both,
    train_side_by_side,
)

pytestmark = pytest.mark.integrations

ENVIRONMENT = "llamafactory-0.9.5"
TIMES_K = str(HERE / "factory_times_k.py")
# What is trained → its arguments.
TRAINED: dict[str, dict[str, Any]] = {
    "pt": {"stage": "pt", "dataset": "text"},
    "sft": {"stage": "sft", "dataset": "answers"},
    "dpo": {"stage": "dpo", "dataset": "pairs"},
    "simpo": {"stage": "dpo", "dataset": "pairs", "pref_loss": "simpo"},
    "orpo": {"stage": "dpo", "dataset": "pairs", "pref_loss": "orpo"},
    "rm": {"stage": "rm", "dataset": "pairs"},
    "kto": {"stage": "kto", "dataset": "judged"},
}
# → verdict, its rule, and what the loss was found to be a mean over. This transformers counts the first label of every
# row, which nothing predicts; in sft that is one of the question, which is no label. A loss of kto's takes something
# from its micro-batch as a whole: how far, on average, the answers to other questions are from the reference.
EXPECTED = {
    "pt": ("UNSHIFTED_TOKEN_COUNT", "unshifted_token_mean", None),
    "sft": ("OK", "token_mean", None),
    "dpo": ("OTHER_OBJECTIVE", "mean_of_means", "rows"),
    "simpo": ("OTHER_OBJECTIVE", "mean_of_means", "rows"),
    "orpo": ("OTHER_OBJECTIVE", "mean_of_means", "rows"),
    "rm": ("OTHER_OBJECTIVE", "mean_of_means", "rows"),
    "kto": ("OTHER_OBJECTIVE", "mean_of_means", None),
}
# The same rows of every step, at once and in k micro-batches; in the order of the file, so that they are known.
STILL = {**ARGUMENTS, "optim": "sgd", "learning_rate": 1.0e-2, "disable_shuffling": True}
WHOLE = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}


@pytest.fixture(scope="module")
def trained(material: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    @cache
    def train_it(name: str) -> Pair:
        folder = tmp_path_factory.mktemp(name)
        config = write_config(folder, material(ENVIRONMENT), "llama", {**ARGUMENTS, **TRAINED[name]})
        return train_both(ENVIRONMENT, folder / "both", "llamafactory-cli", "train", config)

    return train_it


@pytest.mark.parametrize("name", TRAINED)
def test_the_training_is_the_same(trained: Any, name: str) -> None:
    watched, alone = trained(name).watched, trained(name).alone
    check_same(watched, alone)
    assert losses_shown(watched.folder) == losses_shown(alone.folder)


@pytest.mark.parametrize("name", TRAINED)
def test_verdict(trained: Any, name: str) -> None:
    watched = trained(name).watched
    check_seen(watched)
    analysis, (code, rule, unit) = watched.analysis, EXPECTED[name]
    assert (analysis.verdict.code, analysis.verdict.auto_rule) == (code, rule), analysis.verdict.words
    assert analysis.ok == (name != "pt")
    assert all(each.own_mean_nats is not None and each.gradient is not None for each in watched.observations)
    assert analysis.record.passes[0].own_loss.unit == unit
    packages = analysis.record.environment.packages
    assert (packages["llamafactory"], packages["transformers"]) == ("0.9.5", "5.6.0")


def train_wrong(made: Path, folder: Path, name: str) -> Training:
    config = write_config(folder, made, "llama", {**ARGUMENTS, **TRAINED[name]})
    return train(ENVIRONMENT, folder / "wrong", *attached("python", TIMES_K, config))


@pytest.mark.parametrize("name", TRAINED)
def test_a_loss_that_is_k_times_too_large_is_caught(material: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    wrong = train_wrong(material(ENVIRONMENT), tmp_path, name)
    check_scaled(wrong)
    # What was there before is said too.
    assert ("UNSHIFTED_TOKEN_COUNT" in wrong.analysis.verdict.codes) == (name == "pt")


@pytest.mark.parametrize("name", [name for name in TRAINED if name != "kto"])
def test_the_loss_does_not_depend_on_how_the_rows_are_grouped(
    material: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    made, commands = material(ENVIRONMENT), {}
    for grouped, arguments in (("whole", WHOLE), ("split", {})):
        folder = tmp_path / f"config-{grouped}"
        folder.mkdir()
        config = write_config(folder, made, "llama-still", {**STILL, **arguments, **TRAINED[name]})
        commands[grouped] = ("llamafactory-cli", "train", config)
    both = train_side_by_side(ENVIRONMENT, tmp_path, commands)

    check_grouping(**both)
    if name == "pt":
        total, num_targets, num_labels = first_rows(made)
        first = both["split"].losses[0]
        assert first == pytest.approx(total / num_labels, rel=1e-5)
        assert first != pytest.approx(total / num_targets, rel=1e-3)


def first_rows(made: Path) -> tuple[float, int, int]:
    """Return of the first step's rows their summed cross-entropy, the tokens that are predicted, and all."""
    tokenizer = AutoTokenizer.from_pretrained(made / "llama-still")
    model = LlamaForCausalLM.from_pretrained(made / "llama-still").eval()
    total, rows = 0.0, (made / "text.jsonl").read_text(encoding="utf-8").splitlines()[:8]
    encoded = [tokenizer(json.loads(row)["text"] + tokenizer.eos_token)["input_ids"][:128] for row in rows]
    for ids in map(torch.tensor, encoded):
        with torch.no_grad():
            total += float(cross_entropy(model(ids[None]).logits[0, :-1], ids[1:], reduction="sum"))
    return total, sum(len(ids) - 1 for ids in encoded), sum(map(len, encoded))
