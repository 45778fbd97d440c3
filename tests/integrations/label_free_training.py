"""A training with one of TRL's trainers whose micro-batches hold no labels: pairs, rewards, prompts.

python label_free_training.py FOLDER KIND [--times-k]      FOLDER as material.py makes it
"""

from __future__ import annotations

import argparse
import importlib
import random
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from times_k import TimesK
from transformers import AutoTokenizer, LlamaForCausalLM, LlamaForSequenceClassification

# Where each is, and what the rows of its dataset consist of.
KINDS = {
    "DPO": ("trl", "pairs"),
    "KTO": ("trl", "judged"),
    "Reward": ("trl", "answers"),
    "ORPO": ("trl.experimental.orpo", "pairs"),
    "CPO": ("trl.experimental.cpo", "pairs"),
    "GRPO": ("trl", "prompts"),
    "RLOO": ("trl", "prompts"),
}
ROWS = 32
ARGUMENTS = {
    "output_dir": "out",
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 4,
    "max_steps": 3,
    "logging_steps": 1,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
}


def rows(kind: str) -> Dataset:
    chance = random.Random(0)

    def words() -> str:
        return "".join(chance.choice("abcdefgh ") for _ in range(chance.randint(5, 40)))

    make: dict[str, Any] = {
        "pairs": lambda number: {"prompt": words(), "chosen": words(), "rejected": words()},
        "answers": lambda number: {"chosen": words(), "rejected": words()},
        "judged": lambda number: {"prompt": words(), "completion": words(), "label": bool(number % 2)},
        "prompts": lambda number: {"prompt": words()},
    }
    return Dataset.from_list([make[kind](number) for number in range(ROWS)])


def kinds_of_letters(completions: list[str], **_: Any) -> list[float]:
    """Reward a completion for the letters that it has."""
    return [float(len(set(completion))) for completion in completions]


def main() -> None:
    """Train three steps and save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--times-k", action="store_true")
    options = parser.parse_args()

    torch.manual_seed(0)
    home, needs = KINDS[options.kind]
    module, path = importlib.import_module(home), str(options.folder / "llama")
    trainer_class = getattr(module, f"{options.kind}Trainer")
    if options.times_k:
        trainer_class = type(f"TimesK{options.kind}Trainer", (TimesK, trainer_class), {})
    generates = {"num_generations": 2, "max_completion_length": 8} if needs == "prompts" else {}
    args = getattr(module, f"{options.kind}Config")(**ARGUMENTS, **generates)
    model_class = LlamaForSequenceClassification if options.kind == "Reward" else LlamaForCausalLM
    model = model_class.from_pretrained(path, **({"num_labels": 1} if options.kind == "Reward" else {}))
    model.warnings_issued = {}
    trainer = trainer_class(
        model=model,
        args=args,
        train_dataset=rows(needs),
        processing_class=AutoTokenizer.from_pretrained(path),
        **({"reward_funcs": kinds_of_letters} if needs == "prompts" else {}),
    )
    trainer.train()
    trainer.save_model()
    trainer.save_state()


if __name__ == "__main__":
    main()
