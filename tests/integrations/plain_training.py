"""A training with transformers' Trainer, right or with a fault planted; needs torch and transformers alone.

python plain_training.py right|micro_batch_means|world_size [--per-process] [--gemma3 FOLDER]
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import Gemma3ForConditionalGeneration, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

VOCABULARY = 300


class MicroBatchMeans(Trainer):
    """Takes the mean of every micro-batch, though the flag says that it divides by the step's count."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(**inputs)
        labels = inputs["labels"]
        loss = cross_entropy(outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return (loss, outputs) if return_outputs else loss


class WorldSize(Trainer):
    """Multiplies by the number of processes once more than the Trainer does."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss


TRAINERS = {"right": Trainer, "micro_batch_means": MicroBatchMeans, "world_size": WorldSize}


def make_rows() -> list[dict[str, list[int]]]:
    """Return rows of unequal lengths."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(4, 40, (64,), generator=generator).tolist()
    rows = [torch.randint(0, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]
    return [{"input_ids": row, "labels": row} for row in rows]


def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Pad to the longest."""
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(name: str, value: int) -> torch.Tensor:
        return torch.tensor([row[name] + [value] * (longest - len(row[name])) for row in rows])

    ids, labels = padded("input_ids", 0), padded("labels", -100)
    return {"input_ids": ids, "labels": labels, "attention_mask": labels.ne(-100).long()}


def collate_for_gemma3(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Say that no token is of an image, too."""
    batch = collate(rows)
    return {**batch, "token_type_ids": torch.zeros_like(batch["input_ids"])}


def tiny_llama() -> LlamaForCausalLM:
    """Return a model with dropout and random weights."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attention_dropout=0.1,
    )
    return LlamaForCausalLM(config)


def main() -> None:
    """Train three steps and save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("trainer", choices=TRAINERS)
    parser.add_argument("--per-process", action="store_true")
    parser.add_argument("--gemma3", metavar="FOLDER")
    options = parser.parse_args()

    torch.manual_seed(0)
    if options.gemma3 is not None:
        model, collator = Gemma3ForConditionalGeneration.from_pretrained(options.gemma3), collate_for_gemma3
    else:
        model, collator = tiny_llama(), collate
    arguments = TrainingArguments(
        "out",
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        max_steps=3,
        logging_steps=1,
        average_tokens_across_devices=not options.per_process,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    kind = TRAINERS[options.trainer]
    trainer = kind(model=model, args=arguments, train_dataset=make_rows(), data_collator=collator)
    trainer.train()
    trainer.save_model()
    trainer.save_state()
    if torch.distributed.is_initialized():
        leave()


def leave() -> None:
    """End one of several processes at once, past the interpreter's own end.

    A thread of gloo's frees the tensors of the last collective, for which it needs the interpreter's lock. Where the
    process ends before the thread has had it, the process aborts ("terminate called without an active exception") or
    waits for the thread for ever: https://github.com/pytorch/pytorch/pull/179291. Ending the group does not help, as
    the model in its DistributedDataParallel holds it too.
    """
    torch.distributed.barrier()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
