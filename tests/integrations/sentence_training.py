"""A training with sentence-transformers: its loss is a module beside the model, over rows or over pairs of rows.

python sentence_training.py FOLDER LOSS [--times-k]      FOLDER is where the model is made
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
    losses,
    models,
)
from times_k import TimesK
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WORDS = [f"w{number}" for number in range(40)]
SPECIAL = ["[PAD]", "[UNK]"]
ROWS = 32
ARGUMENTS = {
    "output_dir": "out",
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 4,
    "max_steps": 3,
    "logging_steps": 1,
    "use_cpu": True,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
}


class TimesKTrainer(TimesK, SentenceTransformerTrainer):  # type: ignore[misc]
    """Its loss is k times too large."""


def make_model(folder: Path, *, dropout: float = 0.1) -> SentenceTransformer:
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    drops = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    BertModel(BertConfig(vocab_size=len(vocabulary), **size, **drops)).save_pretrained(folder)
    return SentenceTransformer(modules=[models.Transformer(str(folder)), models.Pooling(32)], device="cpu")


def main() -> None:
    """Train three steps and save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("loss", choices=("CosineSimilarityLoss", "MultipleNegativesRankingLoss"))
    parser.add_argument("--times-k", action="store_true")
    options = parser.parse_args()

    chance = random.Random(0)
    rows: list[dict[str, Any]] = [
        {each: " ".join(chance.choices(WORDS, k=chance.randint(2, 12))) for each in ("one", "other")}
        for _ in range(ROWS)
    ]
    if options.loss == "CosineSimilarityLoss":
        rows = [{**row, "score": chance.random()} for row in rows]
    model = make_model(options.folder)
    trainer = (TimesKTrainer if options.times_k else SentenceTransformerTrainer)(
        model=model,
        args=SentenceTransformerTrainingArguments(**ARGUMENTS),
        train_dataset=Dataset.from_list(rows),
        loss=getattr(losses, options.loss)(model),
    )
    trainer.train()
    trainer.save_model()
    trainer.save_state()


if __name__ == "__main__":
    main()
