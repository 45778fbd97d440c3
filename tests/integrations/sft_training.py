"""A training with TRL's SFTTrainer on a folder that material.py has made.

python sft_training.py FOLDER [--lora] [--label-smoothing-factor X]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from datasets import load_dataset
from peft import LoraConfig
from sft_arguments import ARGUMENTS
from trl import SFTConfig, SFTTrainer


def main() -> None:
    """Train three steps and save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--label-smoothing-factor", type=float, default=0.0)
    options = parser.parse_args()

    lora = LoraConfig(r=4, lora_dropout=0.05, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    trainer = SFTTrainer(
        model=str(options.folder / "llama"),
        args=SFTConfig(**ARGUMENTS, label_smoothing_factor=options.label_smoothing_factor),
        train_dataset=load_dataset("json", data_files=str(options.folder / "text.jsonl"), split="train"),
        peft_config=lora if options.lora else None,
    )
    trainer.train()
    trainer.save_model()
    trainer.save_state()


if __name__ == "__main__":
    main()
