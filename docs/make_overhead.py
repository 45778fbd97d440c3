"""Measures what being watched costs a training, and writes docs/overhead.md.

    make overhead

Trainings of one model of about 60 million parameters, watched and not in turns, in one process. Every optimizer step
is timed by a callback. A round's ratio compares the same steps of its two trainings, so that warming up counts for
both. The interval is that of the median of the rounds' ratios: it says how much the machine's own unrest leaves open.
Run it with nothing else on the machine.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from gacheck.watch.watch import Watch

PAGE = Path(__file__).parent / "overhead.md"
ROUNDS = 20
ROUNDS_OF_MEMORY = 5
MEGABYTE = 2**20
OBSERVED, AFTER = 2, 2
ACCUMULATION_STEPS, ROWS, TOKENS = 4, 2, 64
CONFIDENCE = 0.95


class Clock(TrainerCallback):
    """Times every optimizer step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds.append(time.perf_counter() - self._started)


def make_model() -> LlamaForCausalLM:
    """Make a Llama with a vocabulary of a usual size."""
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=8,
    )
    return LlamaForCausalLM(config)


def train(model: LlamaForCausalLM, rows: list[dict[str, list[int]]], *, watched: bool) -> list[float]:
    """Train a few steps; return their seconds."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder,
            per_device_train_batch_size=ROWS,
            gradient_accumulation_steps=ACCUMULATION_STEPS,
            max_steps=OBSERVED + AFTER,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        trainer = Trainer(model=model, args=args, train_dataset=rows, callbacks=[clock])
        if watched:
            Watch(trainer, num_steps=OBSERVED, seen=lambda facts, is_last: None)
        trainer.train()
    return clock.seconds


def make_rows() -> list[dict[str, list[int]]]:
    """Make the rows of a training."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for _ in range((OBSERVED + AFTER) * ACCUMULATION_STEPS * ROWS):
        ids = torch.randint(0, 32_000, (TOKENS,), generator=generator).tolist()
        rows.append({"input_ids": ids, "labels": ids})
    return rows


def peak(watched: bool) -> float:
    """Train in a process of its own, and return the most memory that it had, bytes."""
    torch.manual_seed(0)
    train(make_model(), make_rows(), watched=watched)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def peaks() -> list[float]:
    """Return by how many bytes a watched training's peak is above one that is not, a difference a round."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return [pool.apply(peak, (True,)) - pool.apply(peak, (False,)) for _ in range(ROUNDS_OF_MEMORY)]


def ratios(alone: list[list[float]], watched: list[list[float]], steps: range) -> list[float]:
    """Return watched over alone for the sum of these steps, a ratio a round."""
    return [sum(w[i] for i in steps) / sum(a[i] for i in steps) for a, w in zip(alone, watched, strict=True)]


def interval(values: list[float]) -> tuple[float, float]:
    """Return the confidence interval of the median: the two order statistics that a fair coin leaves outside.

    Source: the sign test; Conover, Practical Nonparametric Statistics, 3.2.
    """
    ordered, number = sorted(values), len(values)
    below = 0
    while sum(math.comb(number, i) for i in range(below + 1)) / 2**number <= (1 - CONFIDENCE) / 2:
        below += 1
    return ordered[below - 1 if below else 0], ordered[-below if below else -1]


def row(name: str, measured: list[float]) -> str:
    """Lay out one line of the table."""
    low, high = interval(measured)
    return f"| {name} | {statistics.median(measured):.3f} | {low:.3f} to {high:.3f} |"


def page(model: LlamaForCausalLM, alone: list[list[float]], watched: list[list[float]], above: list[float]) -> str:
    """Write the page."""
    largest = max(p.numel() * p.element_size() for p in model.parameters()) / MEGABYTE
    weights = sum(p.numel() * p.element_size() for p in model.parameters()) / MEGABYTE
    logits = ROWS * TOKENS * model.config.vocab_size * 8 / MEGABYTE
    low, middle, high = (each / MEGABYTE for each in (min(above), statistics.median(above), max(above)))
    observed, after = range(OBSERVED), range(OBSERVED, OBSERVED + AFTER)
    # What the same comparison says where both are not watched: neighbouring rounds.
    unrest = ratios(alone[1:], alone[:-1], after)
    table = "\n".join(
        [
            row("observed", ratios(alone, watched, observed)),
            row("after them", ratios(alone, watched, after)),
            row("neither watched, one round against the next", unrest),
        ]
    )
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    return f"""<!-- Made by docs/make_overhead.py: run  make overhead  instead of editing. -->

# What being watched costs

Measured by `make overhead` with transformers {transformers.__version__}, torch {torch.__version__}, CPU,
{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[2]:.1f} over the last quarter of an hour: a Llama of
{parameters:.0f} million parameters with a vocabulary of 32,000; micro-batches of {ROWS} × {TOKENS} tokens,
k = {ACCUMULATION_STEPS}; {ROUNDS} rounds, each a training that is watched and one that is not, in turns.
Seconds per optimizer step, watched over not watched:

| steps | median of the rounds | {CONFIDENCE:.0%} interval of that median |
| --- | ---: | ---: |
{table}

An interval that holds 1 says that no cost was seen above the machine's own unrest, not that there is none.

Peak memory of a process, watched minus not watched, {ROUNDS_OF_MEMORY} pairs of processes in turns: a median of
{middle:.0f} MiB, {low:.0f} to {high:.0f}. The weights take {weights:.0f} MiB, the gradient of the largest parameter
{largest:.0f} MiB, the logits of a micro-batch {logits:.0f} MiB in the float64 in which cross-entropy is computed.
"""


def main() -> None:
    """Measure and write."""
    transformers.logging.set_verbosity_error()
    # First: a process begins with the peak of the one that it was made by.
    above = peaks()
    torch.manual_seed(0)
    model = make_model()
    rows = make_rows()
    train(model, rows, watched=False)  # warms up
    alone, watched = [], []
    for number in range(ROUNDS):
        # Which comes first changes from round to round.
        for is_watched in (False, True) if number % 2 else (True, False):
            (watched if is_watched else alone).append(train(model, rows, watched=is_watched))
    PAGE.write_text(page(model, alone, watched, above), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
