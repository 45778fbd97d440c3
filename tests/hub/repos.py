"""The repositories that the tests put onto the fake hub, made as their owners would."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path

from gacheck.measure.models.building import build_model
from gacheck.measure.models.stand_in import tiny_config
from gacheck.measure.models.tokenizer import train_tokenizer
from gacheck.measure.text.sources import builtin_texts
from tests.hub.fake_hub import Files, files_of

VOCABULARY = 300

CODE = """
from transformers import LlamaConfig, LlamaForCausalLM


class MineConfig(LlamaConfig):
    model_type = "mine"


class MineForCausalLM(LlamaForCausalLM):
    config_class = MineConfig
"""


@cache
def tokenizer_files() -> Files:
    with tempfile.TemporaryDirectory() as folder:
        train_tokenizer(builtin_texts(), VOCABULARY).save_pretrained(folder)
        return files_of(Path(folder))


def llama(max_shard_size: str = "1GB", **fields: object) -> Files:
    """A tiny Llama with its tokenizer."""
    config = tiny_config("llama", VOCABULARY)
    for name, value in fields.items():
        setattr(config, name, value)
    with tempfile.TemporaryDirectory() as folder:
        build_model(config, seed=1).save_pretrained(folder, max_shard_size=max_shard_size)
        return files_of(Path(folder)) | tokenizer_files()


def sharded() -> Files:
    """The same in many files and an index."""
    return llama(max_shard_size="100KB")


def pickled(files: Files) -> Files:
    """The same with weights that nobody should load."""
    kept = {name: content for name, content in files.items() if not name.endswith(".safetensors")}
    return kept | {"pytorch_model.bin": b"a pickle"}


def custom_code(files: Files) -> Files:
    """The same under a class of its own that lies beside the weights."""
    classes = {"AutoConfig": "modeling_mine.MineConfig", "AutoModelForCausalLM": "modeling_mine.MineForCausalLM"}
    config = json.loads(files["config.json"]) | {
        "model_type": "mine",
        "architectures": ["MineForCausalLM"],
        "auto_map": classes,
    }
    return files | {"config.json": json.dumps(config).encode(), "modeling_mine.py": CODE.encode()}


def adapter(base: str) -> Files:
    """A LoRA adapter, without its base's weights."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(r=4, lora_dropout=0.1, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(build_model(tiny_config("llama", VOCABULARY), seed=1), settings)
    model.peft_config["default"].base_model_name_or_path = base
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return files_of(Path(folder))


def dataset() -> Files:
    """Two configurations; the second has other text, in another split and another column."""
    sentences = [s.strip() for text in builtin_texts() for s in text.split("\n\n") if 30 < len(s.strip()) < 300][:200]
    card = {
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "default/train.jsonl"}]},
            {"config_name": "other", "data_files": [{"split": "validation", "path": "other/validation.jsonl"}]},
        ]
    }
    return {
        "README.md": f"---\n{json.dumps(card)}\n---\n".encode(),
        "default/train.jsonl": _lines("text", sentences[:100]),
        "other/validation.jsonl": _lines("body", sentences[100:]),
    }


def _lines(column: str, texts: list[str]) -> bytes:
    return "".join(json.dumps({column: text}) + "\n" for text in texts).encode()
