"""Reads what an earlier gacheck wrote: turns a record of schema version 1 into one of the present version.

Version 1 kept the flag as a boolean, and wrote an attached training as a run with options that nobody had given.
"""

from __future__ import annotations

from typing import Any

Content = dict[str, Any]

_TOLD = (
    "trainer_class",
    "compute_loss_func",
    "per_device_train_batch_size",
    "optim",
    "max_grad_norm",
    "label_smoothing_factor",
    "seed",
)


def from_version_1(content: Content) -> Content:
    """Return the content as version 2 would have it; the given one is left as it is.

    Raises:
        KeyError: Something is missing.
        TypeError: Something is of another type than version 1 wrote.
    """
    passes = {name: [_pass(each) for each in content.get(name, [])] for name in ("passes", "tail_passes")}
    new = {**content, **passes, "schema_version": 2}
    attached = new.pop("attached", None)
    return new if attached is None else _attached(new, attached)


def _flag(value: bool | None) -> str | None:
    return None if value is None else "on" if value else "off"


def _pass(old: Content) -> Content:
    kept = {name: value for name, value in old.items() if name != "gradient"}
    steps = [{**step, "micro_batches": [_micro_batch(m) for m in step["micro_batches"]]} for step in old["steps"]]
    return {**kept, "auto_loss_kwargs": _flag(old.get("auto_loss_kwargs")), "steps": steps}


def _micro_batch(old: Content) -> Content:
    """Leave out what is told otherwise by now: the gradient of another objective, at the logits."""
    seen = old.get("observation")
    if seen is None:
        return old
    dropped = ("own_weight", "own_weight_spread")
    return {**old, "observation": {name: value for name, value in seen.items() if name not in dropped}}


def _attached(run: Content, attached: Content) -> Content:
    """Take the options that were the training's own; the others were the defaults of `gacheck run`."""
    config = run["config"]
    setup = {name: config[name] for name in _TOLD} | {
        "gradient_accumulation_steps": config["gradient_accumulation_steps"][0],
        "loss_kwargs": config["loss_kwargs"][0],
        "chosen_loss_kwargs": _flag(attached["chosen_loss_kwargs"]),
        "average_tokens_across_devices": attached["average_tokens_across_devices"],
        "learning_rate": run["learning_rate"],
    }
    noise = {name: value for name, value in run["oracle"]["noise"].items() if name not in ("regrouping", "repeat")}
    kept = ("kind", "schema_version", "created_at", "command", "environment", "hardware", "passes")
    return {name: run[name] for name in kept} | {
        "model": {**run["model"], "random_weights": None},
        "oracle": {**run["oracle"], "noise": noise},
        "setup": setup,
        "num_observed_steps": attached["num_steps"],
        "num_processes_seen": attached["num_processes_seen"],
        "unseen": attached["unseen"],
    }
