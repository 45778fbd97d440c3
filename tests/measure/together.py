"""Runs in two processes that torchrun starts: what is right, and faults planted; rank 0 writes what came of each.

python -m torch.distributed.run --nproc-per-node 2 together.py FOLDER
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, SequentialSampler
from transformers import Trainer

from gacheck.config import make_experiment
from gacheck.measure import session as sessions
from gacheck.measure.experiment import begin_record, run_passes
from gacheck.measure.models.source import open_model
from gacheck.measure.session import Session, quiet_libraries
from gacheck.words.analysis import analyse

try:
    from transformers.distributed import DistributedConfig

    CAN_SPREAD = "fsdp_size" in {field.name for field in dataclasses.fields(DistributedConfig)}
except ImportError:
    CAN_SPREAD = False

RANK = int(os.environ.get("RANK", "0"))
WORLD_SIZE = 2
KS = (1, 4)
ROWS = 16
FED: dict[int, list[Any]] = {}
"""k → the micro-batches of this process, in order."""


class Right(Trainer):
    """Notes what it is fed."""

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        k = self.args.gradient_accumulation_steps
        FED.setdefault(k, []).append({name: tensor.clone() for name, tensor in inputs.items()})
        return super().training_step(model, inputs, *args, **kwargs)


class TimesK(Trainer):
    """Takes the mean of every micro-batch though the flag says that it divides by the step's count."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(**inputs)
        labels = inputs["labels"]
        loss = cross_entropy(outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return (loss, outputs) if return_outputs else loss


class TimesW(Trainer):
    """Multiplies by the number of processes once more than the Trainer does."""

    factor = float(WORLD_SIZE)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        loss = loss * self.factor
        return (loss, outputs) if return_outputs else loss


class OverW(TimesW):
    """Divides by it once more."""

    factor = 1.0 / WORLD_SIZE


class AddsPenalty(Trainer):
    """Adds a penalty, as a router's loss, to every micro-batch whatever k is, multiplied by W as the rest."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        size = 100 * outputs.logits.float().pow(2).mean()
        loss = loss + size * (WORLD_SIZE if num_items_in_batch is not None else 1)
        return (loss, outputs) if return_outputs else loss


class InOrder(Trainer):
    """Feeds rows in their order: rank 1 has every second micro-batch."""

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        return SequentialSampler(self.train_dataset)


class Unequal(Right):
    """Gives rank 0 three rows a micro-batch, rank 1 one."""

    def get_train_dataloader(self) -> Any:
        size, start = (3, 0) if RANK == 0 else (1, len(self.train_dataset) // 2)
        # As many micro-batches in both: where weights are spread, each is one of all processes.
        half = len(self.train_dataset) // 2
        rows = [self.train_dataset[start + number % half] for number in range(8 * size)]
        return DataLoader(rows, batch_size=size, collate_fn=self.data_collator)


def masked(make_rows: Any, size: int) -> Any:
    """Take the targets from every second group of `size` rows."""

    def made(*args: Any) -> Any:
        rows = make_rows(*args)
        train = [
            {**row, "labels": [-100] * len(row["labels"])} if number // size % 2 else row
            for number, row in enumerate(rows.train)
        ]
        return dataclasses.replace(rows, train=train) if dataclasses.is_dataclass(rows) else rows._replace(train=train)

    return made


def run(name: str, folder: Path, model: str = "tiny:llama", **options: Any) -> dict[str, Any]:
    """Run all passes under a Trainer of this file."""
    config = make_experiment(
        model=model,
        processes=WORLD_SIZE,
        trainer_class=f"tests.measure.together:{name}",
        max_steps=2,
        max_length=32,
        **{"gradient_accumulation_steps": KS, "effective_batch_size": ROWS, "loss_kwargs": "on", **options},
    )
    session = Session(config)
    if name == "Right" and RANK == 0 and not options:
        session.material.model.save_pretrained(folder / "model")
    record = session.agree(begin_record(config, session))
    record = run_passes(record, lambda spec: session.run_pass(spec, record.oracle, lambda: None), lambda saved: None)
    analysis = analyse(record)
    told: dict[str, Any] = {
        "code": analysis.verdict.code,
        "rule": analysis.verdict.auto_rule,
        "cause": analysis.verdict.words.cause,
        "fix": analysis.verdict.words.fix,
        "average_tokens": record.hardware.average_tokens_across_devices,
        "world_size": record.hardware.world_size,
        "unseen": [each for p in record.passes for each in p.unseen],
        "errors": [p.error.message for p in record.passes if p.error],
        "loss": {p.accumulation_steps: p.steps[0].reported_loss for p in analysis.passes if p.steps},
        "grad_norm": {p.accumulation_steps: p.steps[0].grad_norm for p in analysis.passes if p.steps},
        "grad_ratio": {p.accumulation_steps: p.grad_norm_ratio for p in analysis.passes},
        "targets": [
            [m.process, m.observation.num_target_tokens, m.observation.num_rows]
            for p in record.passes
            for m in p.steps[0].micro_batches
            if m.observation is not None
        ],
    }
    return told


def added_up() -> dict[int, float]:
    """Return by how much a norm's gradient is off after k backwards with tensor parallelism, by plain torch."""
    whole, _ = open_model(make_experiment(model="tiny:qwen3")).load_model()
    spread = type(whole).from_pretrained(
        None,
        config=whole.config,
        state_dict=whole.state_dict(),
        distributed_config=DistributedConfig(tp_size=WORLD_SIZE),
    )
    found = {}
    for k in (1, 2):
        norms = []
        for model in (whole.train(), spread.train()):
            model.zero_grad()
            for ids in torch.randint(0, 64, (k, 2, 12), generator=torch.Generator().manual_seed(1)):
                (model(input_ids=ids, labels=ids).loss / k).backward()
            norms.append(dict(model.named_parameters())["model.layers.0.self_attn.q_norm.weight"].grad)
        found[k] = float((norms[1] - norms[0]).norm() / norms[0].norm())
    return found


def main() -> None:
    """Run all."""
    quiet_libraries()
    folder = Path(sys.argv[1])
    told = {name: run(name, folder) for name in ("Right", "TimesK", "TimesW", "OverW")}
    # Under this name it was imported as code of a user's.
    torch.save(sys.modules["tests.measure.together"].FED, folder / f"fed-{RANK}.pt")
    told["AddsPenalty"] = run("AddsPenalty", folder)
    told["Apart"] = run("Right", folder, average_tokens="off")
    uneven = {"gradient_accumulation_steps": 4, "per_device_train_batch_size": None}
    told["Unequal"] = run("Unequal", folder, **uneven)
    if CAN_SPREAD:
        told |= {f"{name}, spread": run(name, folder, shard="fsdp") for name in ("Right", "TimesK")}
        told |= {f"{name}, tensor": run(name, folder, shard="tp") for name in ("Right", "TimesK", "TimesW")}
        told["Right, tensor, apart"] = run("Right", folder, shard="tp", average_tokens="off")
        # Its norms of queries and keys have a part of their gradient in each process.
        told["Qwen3, added up"] = added_up()
        told["Qwen3, tensor"] = run("Right", folder, "tiny:qwen3", shard="tp")
        told["Qwen3, tensor, k = 1"] = run("Right", folder, "tiny:qwen3", shard="tp", gradient_accumulation_steps=1)
        told["Unequal, spread"] = run("Unequal", folder, shard="fsdp", **uneven)
    sessions.make_rows = masked(sessions.make_rows, ROWS // WORLD_SIZE // 4)
    told["InOrder"] = run("InOrder", folder, gradient_accumulation_steps=4)
    if CAN_SPREAD:
        told["InOrder, spread"] = run("InOrder", folder, shard="fsdp", gradient_accumulation_steps=4)
    if RANK == 0:
        (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")
    torch.distributed.barrier()
    os._exit(0)


if __name__ == "__main__":
    main()
