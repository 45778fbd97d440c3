"""A training with TRL's SFTTrainer on a folder that material.py has made.

python sft_training.py FOLDER [--lora] [--label-smoothing-factor X] [--loss-type NAME] [--times-k] [--grouped ROWS K]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from datasets import load_dataset
from peft import LoraConfig
from sft_arguments import ARGUMENTS
from times_k import TimesK
from trl import SFTConfig, SFTTrainer


class TimesKTrainer(TimesK, SFTTrainer):  # type: ignore[misc]
    """Its loss is k times too large."""


def main() -> None:
    """Train three steps and save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--label-smoothing-factor", type=float, default=0.0)
    parser.add_argument("--loss-type", default="nll")
    parser.add_argument("--times-k", action="store_true")
    parser.add_argument("--grouped", nargs=2, type=int, metavar=("ROWS", "K"), help="without dropout, with plain SGD")
    options = parser.parse_args()

    lora = LoraConfig(r=4, lora_dropout=0.05, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    arguments = {
        **ARGUMENTS,
        "loss_type": options.loss_type,
        "label_smoothing_factor": options.label_smoothing_factor,
    }
    if options.grouped is not None:
        rows, k = options.grouped
        arguments.update(
            per_device_train_batch_size=rows, gradient_accumulation_steps=k, optim="sgd", learning_rate=1.0
        )
    trainer = (TimesKTrainer if options.times_k else SFTTrainer)(
        model=str(options.folder / ("llama" if options.grouped is None else "llama-still")),
        args=SFTConfig(**arguments),
        train_dataset=load_dataset("json", data_files=str(options.folder / "text.jsonl"), split="train"),
        peft_config=lora if options.lora else None,
    )
    trainer.train()
    trainer.save_model()
    trainer.save_state()


if __name__ == "__main__":
    main()
