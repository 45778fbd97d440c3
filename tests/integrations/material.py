"""Makes what the trainings train on, with the transformers of their own environment: gacheck is not needed there.

python material.py FOLDER      FOLDER/llama, FOLDER/gemma3: tiny models with tokenizers
                               FOLDER/llama-still: the same Llama without dropout
                               FOLDER/text.jsonl: text; FOLDER/answers.jsonl: a question, an answer, another, a liking
                               FOLDER/dataset_info.json: what LLaMA-Factory is to make of these
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

VOCABULARY = 300
SPECIAL = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
OF_IMAGES = {"boi_token": "<boi>", "eoi_token": "<eoi>", "image_token": "<image>"}
TINY = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
    "attention_dropout": 0.1,
}


ASKED = {"prompt": "question"}
DATASETS = {
    "text": {"file_name": "text.jsonl", "columns": {"prompt": "text"}},
    "answers": {"file_name": "answers.jsonl", "columns": {**ASKED, "response": "answer"}},
    "pairs": {
        "file_name": "answers.jsonl",
        "ranking": True,
        "columns": {**ASKED, "chosen": "answer", "rejected": "other"},
    },
    "judged": {"file_name": "answers.jsonl", "columns": {**ASKED, "response": "answer", "kto_tag": "is_liked"}},
}


def sentences() -> list[str]:
    """Return text of unequal lengths: this interpreter's own documentation."""
    from pydoc_data import topics

    paragraphs = [p.strip() for topic in topics.topics.values() for p in topic.split("\n\n")]
    return [p for p in paragraphs if 20 < len(p) < 300][:400]


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Train a tokenizer of bytes and a few words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [*SPECIAL.values(), *OF_IMAGES.values()]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, padding_side="right", extra_special_tokens=OF_IMAGES, **SPECIAL
    )


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make(folder: Path) -> None:
    """Write models and text."""
    texts = sentences()
    write_lines(folder / "text.jsonl", [{"text": text} for text in texts])
    threes = zip(texts[::3], texts[1::3], texts[2::3], strict=False)
    answers = [
        {"question": question, "answer": answer, "other": other, "is_liked": number % 2 == 0}
        for number, (question, answer, other) in enumerate(threes)
    ]
    write_lines(folder / "answers.jsonl", answers)
    (folder / "dataset_info.json").write_text(json.dumps(DATASETS), encoding="utf-8")
    tokenizer = make_tokenizer(texts)

    torch.manual_seed(0)
    llama = LlamaForCausalLM(LlamaConfig(**TINY))
    llama.save_pretrained(folder / "llama")
    tokenizer.save_pretrained(folder / "llama")
    llama.config.update({"attention_dropout": 0.0, "summary_dropout_prob": 0.0})  # the second is of TRL's value head
    llama.save_pretrained(folder / "llama-still")
    tokenizer.save_pretrained(folder / "llama-still")

    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    text = {**TINY, "head_dim": 16, "sliding_window": 64}
    config = Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        boi_token_index=tokenizer.convert_tokens_to_ids("<boi>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<eoi>"),
    )
    Gemma3ForConditionalGeneration(config).save_pretrained(folder / "gemma3")
    tokenizer.save_pretrained(folder / "gemma3")
    Gemma3ImageProcessor(size={"height": 28, "width": 28}).save_pretrained(folder / "gemma3")
    processor = {"processor_class": "Gemma3Processor", "image_seq_length": 4}
    (folder / "gemma3" / "processor_config.json").write_text(json.dumps(processor), encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
