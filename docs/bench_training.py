"""What a pass costs beside the same training by a bare Trainer, and how that grows.

python docs/bench_training.py passes|work|growth|config|large|need        prints JSON
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import psutil
import torch
from transformers import LlamaConfig, Trainer

from gacheck.config import RunConfig
from gacheck.measure import session
from gacheck.measure.memory import Need
from gacheck.measure.passes.trainers import training_arguments
from gacheck.measure.session import Session, quiet_libraries
from gacheck.measure.text.rows import NUM_HELDOUT_ROWS
from gacheck.record.parts import OracleRecord
from gacheck.record.plan import PassSpec
from gacheck.rules.facts import Flag

CPU = torch.device("cpu")
ROUNDS_OF_PASSES, ROUNDS_OF_GROWTH = 3, 2
SIXTY_MILLION = {
    "vocab_size": 32_000,
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
}
SMALL = {**SIXTY_MILLION, "vocab_size": 1024, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
THREE_HUNDRED_AND_FIFTY_MILLION = {
    **SIXTY_MILLION,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 21,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
}
GROWTH: Mapping[str, tuple[tuple[int, ...], Callable[[int], tuple[dict[str, Any], dict[str, Any]]]]] = {
    "steps": ((4, 8, 16, 32), lambda n: ({}, {"max_steps": n})),
    "micro-batches per step": ((1, 2, 4, 8), lambda n: ({}, {"gradient_accumulation_steps": (n,)})),
    "rows per step": ((16, 32, 64, 128), lambda n: ({}, {"effective_batch_size": n})),
    "tokens per row": ((32, 64, 128, 256), lambda n: ({}, {"max_length": n})),
    "width": ((64, 128, 256, 512), lambda n: ({"hidden_size": n, "intermediate_size": 2 * n}, {})),
    "layers": ((2, 4, 8, 16), lambda n: ({"num_hidden_layers": n}, {})),
    "vocabulary": ((1024, 4096, 16_384, 65_536), lambda n: ({"vocab_size": n}, {})),
}
"""What is made larger: to which sizes, and which fields of the model and which options that is."""


class Bench:
    """One model with its rows, trained in three ways; each begins with the same weights.

    Args:
        sizes: Fields of the Llama's config.
        options: Of the run.
    """

    def __init__(self, sizes: Mapping[str, Any], **options: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            LlamaConfig(**sizes, architectures=["LlamaForCausalLM"]).save_pretrained(folder)
            defaults = {"gradient_accumulation_steps": (4,), "loss_kwargs": (Flag.ON,), "packing": True}
            self.config = RunConfig(model=folder, **{**defaults, **options}).experiment()
            self.session = Session(self.config)
        self.model, self.rows, self.collate = self.session.material
        self.weights = {name: each.clone() for name, each in self.model.state_dict().items()}
        self.k = self.config.gradient_accumulation_steps[0]
        self.oracle: OracleRecord = self.session.ask_oracle()

    def watched(self) -> float:
        """Return the seconds of a pass."""
        done = self.session.run_pass(PassSpec(self.k, Flag.ON), self.oracle, lambda: None)
        assert done.status == "ok", done.error
        return done.seconds

    def bare(self) -> float:
        """Return the seconds of the same training by a bare Trainer."""
        self.model.load_state_dict(self.weights)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            args = training_arguments(self.config, self.k, self.session.learning_rate, CPU, folder)
            Trainer(self.model, args, train_dataset=self.rows, data_collator=self.collate).train()
        return time.perf_counter() - started

    def by_hand(self) -> float:
        """Return the seconds of the same training by a loop of PyTorch."""
        self.model.load_state_dict(self.weights)
        started = time.perf_counter()
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=self.session.learning_rate, weight_decay=0.0)
        size, rows = self.config.micro_batch_size(self.k), iter(self.rows)
        for _ in range(self.config.max_steps):
            batches = [self.collate([next(rows) for _ in range(size)]) for _ in range(self.k)]
            count = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
            for batch in batches:
                self.model(**batch, num_items_in_batch=count).loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        return time.perf_counter() - started


def in_turns(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every way, which are measured one after the other, and begin with another each round."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    names = [*ways]
    for number in range(rounds):
        for name in (*names[number % len(names) :], *names[: number % len(names)]):
            found[name].append(ways[name]())
    return found


def passes() -> dict[str, list[float]]:
    """Time passes of 60 million parameters, 16 rows of 256 tokens a step."""
    bench = Bench(SIXTY_MILLION, max_length=256)
    return in_turns({"watched": bench.watched, "bare": bench.bare, "by hand": bench.by_hand}, ROUNDS_OF_PASSES)


NUM_ROWS: Counter[str] = Counter()
"""What a model holds gacheck puts back after a repeat: so it is counted outside of it."""


def work() -> dict[str, int]:
    """Count the rows that are done forward and backward: in a pass, in a bare training, and held-out ones forward."""
    bench = Bench(SMALL)
    for name, train in (("watched", bench.watched), ("bare", bench.bare)):

        def count(module: torch.nn.Module, args: Any, kwargs: dict[str, Any], name: str = name) -> None:
            NUM_ROWS[name] += len(kwargs["input_ids"])

        handle = bench.model.register_forward_pre_hook(count, with_kwargs=True)
        train()
        handle.remove()
    # Those come after all hooks are taken away that a training may have left.
    return {**NUM_ROWS, "heldout": NUM_HELDOUT_ROWS}


def growth() -> dict[str, list[tuple[int, float, float]]]:
    """Time passes of ever larger sizes: the size, seconds of a pass, and of a bare Trainer."""
    found: dict[str, list[tuple[int, float, float]]] = {}
    for name, (sizes, at) in GROWTH.items():
        for size in sizes:
            fields, options = at(size)
            bench = Bench({**SMALL, **fields}, **options)
            bench.bare()  # warms up
            seconds = in_turns({"watched": bench.watched, "bare": bench.bare}, ROUNDS_OF_GROWTH)
            medians = [statistics.median(seconds[each]) for each in ("watched", "bare")]
            found.setdefault(name, []).append((size, medians[0], medians[1]))
    return found


def config(sizes: Mapping[str, Any] = SIXTY_MILLION) -> str:
    """Return the config of a Llama, as it lies beside weights."""
    return str(LlamaConfig(**sizes, architectures=["LlamaForCausalLM"]).to_json_string())


def large() -> str:
    """Return that of 350 million parameters."""
    return config(THREE_HUNDRED_AND_FIFTY_MILLION)


def need() -> dict[str, int]:
    """Return what a run of 350 million parameters with the defaults holds before its first pass, and is estimated to
    take besides, bytes."""
    found: dict[str, int] = {}
    check = session.check_memory

    def noted(name: str, estimated: Need, *args: Any) -> None:
        found.update(held=psutil.Process().memory_info().rss, estimated=estimated.total)
        check(name, estimated, *args)

    session.check_memory = noted
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(large(), encoding="utf-8")
        Session(RunConfig(model=folder).experiment())
    return found


if __name__ == "__main__":
    quiet_libraries()
    ways = {"passes": passes, "work": work, "growth": growth, "config": config, "large": large, "need": need}
    print(json.dumps(ways[sys.argv[1]]()))
