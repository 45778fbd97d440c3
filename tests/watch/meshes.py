"""Trainings in two processes that hold the weights between them, attached; rank 0 prints what came of each.

python -m torch.distributed.run --nproc-per-node 2 meshes.py
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

import gacheck
from gacheck.measure.models.sharding import allow_on_processors
from tests.measure.together import TimesK, TimesW

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 64,
}
K, MICRO_BATCH = 4, 2


def make_rows() -> list[dict[str, list[int]]]:
    """Return rows of one length with unequal numbers of targets."""
    generator = torch.Generator().manual_seed(1)
    rows = []
    for number in range(64):
        ids = torch.randint(0, 64, (12,), generator=generator).tolist()
        hidden = number * 5 % 11
        rows.append({"input_ids": ids, "labels": [-100] * hidden + ids[hidden:]})
    return rows


def whole_model() -> LlamaForCausalLM:
    """Return the model in one piece."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES))


def train(
    trainer_class: type[Trainer], spread: dict[str, int], *, is_attached: bool, rows: list[Any] | None = None
) -> tuple[Any, list[Any]]:
    """Train two steps; return the verdict and this process's part of the weights."""
    from transformers.distributed import DistributedConfig  # of newer releases

    whole = whole_model()
    model = LlamaForCausalLM.from_pretrained(
        None, config=whole.config, state_dict=whole.state_dict(), distributed_config=DistributedConfig(**spread)
    )
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder,
            use_cpu=True,
            report_to="none",
            per_device_train_batch_size=MICRO_BATCH,
            gradient_accumulation_steps=K,
            max_steps=2,
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
            train_sampling_strategy="sequential",
        )
        trainer = trainer_class(model, args, train_dataset=rows or make_rows())
        seen = gacheck.attach(trainer) if is_attached else None
        trainer.train()
    found = seen.analysis if seen is not None else None
    told = None
    if found is not None:
        verdict = found.verdict
        told = {
            "code": verdict.code,
            "rule": verdict.auto_rule,
            "cause": verdict.words.cause,
            "num_rows": sum(
                m.observation.num_rows if m.observation else 0 for m in found.record.passes[0].steps[0].micro_batches
            ),
            "right": found.passes[0].first.reference_loss if found.passes[0].first else None,
        }
    return told, [getattr(each, "to_local", each.detach)().detach().clone() for each in model.parameters()]


CASES = {
    f"{kind} {name}": (trainer_class, {f"{kind}_size": 2})
    for kind in ("fsdp", "tp")
    for name, trainer_class in {"right": Trainer, "times k": TimesK, "times W": TimesW}.items()
}


def main() -> None:
    """Train every case, and the right ones once more without gacheck."""
    warnings.filterwarnings("ignore")
    allow_on_processors()
    told: dict[str, Any] = {}
    for name, (trainer_class, spread) in CASES.items():
        verdict, weights = train(trainer_class, spread, is_attached=True)
        told[name] = {"verdict": verdict}
        if trainer_class is Trainer:
            _, alone = train(trainer_class, spread, is_attached=False)
            told[name]["same"] = all(map(torch.equal, weights, alone))
    unlike = make_rows()[:: 1 - 2 * torch.distributed.get_rank()]
    verdict, _ = train(Trainer, {"tp_size": 2}, is_attached=True, rows=unlike)
    told["tp, unlike rows"] = {"verdict": verdict}
    # Last: who did not answer once is not waited for again.
    verdict, _ = train(Trainer, {"fsdp_size": 2}, is_attached=torch.distributed.get_rank() == 0)
    told["fsdp, one process watched"] = {"verdict": verdict}
    everybody: list[Any] = [None, None]
    torch.distributed.all_gather_object(everybody, told)
    if torch.distributed.get_rank() == 0:
        print("TOLD" + json.dumps(everybody), flush=True)
    torch.distributed.barrier()
    os._exit(0)


if __name__ == "__main__":
    main()
