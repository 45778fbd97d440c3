"""What LLaMA-Factory is told to train, and what its own log says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ARGUMENTS = {
    "finetuning_type": "full",
    "do_train": True,
    "template": "default",
    "cutoff_len": 128,
    "packing": False,
    "max_samples": 64,
    "output_dir": "out",
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 4,
    "max_steps": 3,
    "logging_steps": 1,
    "learning_rate": 1.0e-3,
    "save_strategy": "no",
    "report_to": "none",
    "use_cpu": True,
}


def write_config(folder: Path, made: Path, model: str, arguments: Mapping[str, Any]) -> str:
    """Write a configuration and return its path.

    JSON is YAML. As the former it is not read by 0.9.5, which asks a path to be a file.

    Args:
        folder: Where to.
        made: What material.py has made.
        model: Its folder there.
        arguments: The rest.
    """
    config = folder / "config.yaml"
    places = {"model_name_or_path": str(made / model), "dataset_dir": str(made)}
    config.write_text(json.dumps({**arguments, **places}), encoding="utf-8")
    return str(config)


def losses_shown(folder: Path) -> list[tuple[int, float | None]]:
    """Return what LLaMA-Factory's own log, which its web page draws, says of every step."""
    lines = (folder / "out" / "trainer_log.jsonl").read_text().splitlines()
    entries = [(entry["current_steps"], entry.get("loss")) for entry in map(json.loads, lines)]
    assert len(entries) > 2
    return entries
