"""What is there to be done at the least: one import, one load, and short trainings by a bare Trainer.

    python docs/bench_floor.py FOLDER K … [once]

Nothing of gacheck is in it. FOLDER holds `model/`, as save_pretrained wrote it, and `rows.pt`; for every K it trains
two passes of eight steps, as a run does with the flag on and off, or one of two steps, as a smoke check does.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, Trainer, TrainingArguments

EFFECTIVE_BATCH = 16


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Pad rows to a batch."""
    longest = max(len(row["input_ids"]) for row in rows)
    padding = {"input_ids": 0, "attention_mask": 0, "labels": -100}
    return {
        name: torch.tensor([[*row[name], *[value] * (longest - len(row[name]))] for row in rows])
        for name, value in padding.items()
        if name in rows[0]
    }


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description="Train by a bare Trainer.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("steps", nargs="+")
    options = parser.parse_args()
    is_once = options.steps[-1] == "once"
    folder, times, num_steps = options.folder, 1 if is_once else 2, 2 if is_once else 8
    rows = torch.load(folder / "rows.pt", weights_only=True)
    model_class = getattr(transformers, AutoConfig.from_pretrained(folder / "model").architectures[0])
    model = model_class.from_pretrained(folder / "model").float()
    weights = {name: each.clone() for name, each in model.state_dict().items()}
    for k in (int(each) for each in options.steps if each != "once" for _ in range(times)):
        model.load_state_dict(weights)
        with tempfile.TemporaryDirectory() as place:
            args = TrainingArguments(
                place,
                per_device_train_batch_size=EFFECTIVE_BATCH // k,
                gradient_accumulation_steps=k,
                max_steps=num_steps,
                learning_rate=1e-3,
                lr_scheduler_type="constant",
                use_cpu=True,
                report_to="none",
                disable_tqdm=True,
                logging_strategy="no",
                save_strategy="no",
            )
            Trainer(model, args, train_dataset=rows, data_collator=collate).train()


if __name__ == "__main__":
    main()
