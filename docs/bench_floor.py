"""What is there to be done at the least: one import, one load, and short trainings by a bare Trainer.

    python docs/bench_floor.py FOLDER K …

Nothing of gacheck is in it. FOLDER holds `model/`, as save_pretrained wrote it, and `rows.pt`; for every K it trains
two passes, as a run does with the flag on and off.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, Trainer, TrainingArguments

EFFECTIVE_BATCH, STEPS = 16, 8


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
    folder, steps = Path(sys.argv[1]), [int(each) for each in sys.argv[2:]]
    rows = torch.load(folder / "rows.pt", weights_only=True)
    model_class = getattr(transformers, AutoConfig.from_pretrained(folder / "model").architectures[0])
    model = model_class.from_pretrained(folder / "model").float()
    weights = {name: each.clone() for name, each in model.state_dict().items()}
    for k in (each for each in steps for _ in ("on", "off")):
        model.load_state_dict(weights)
        with tempfile.TemporaryDirectory() as place:
            args = TrainingArguments(
                place,
                per_device_train_batch_size=EFFECTIVE_BATCH // k,
                gradient_accumulation_steps=k,
                max_steps=STEPS,
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
