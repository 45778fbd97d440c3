"""Check after check in one process: memory stays flat, and nothing stays on model, Trainer or process."""

from __future__ import annotations

import gc
import os
import random as python_random
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import Trainer, TrainingArguments

import gacheck
from gacheck.measure.models.building import build_model
from gacheck.measure.models.stand_in import tiny_config
from tests.torture.outcome import Outcome

WARM_UP = 8
"""Checks before anything is measured: caches fill, and an allocator gets what it keeps."""
MEGABYTES_A_CHECK = 0.1
MEGABYTE = 1 << 20
ENOUGH_CHECKS = 30
"""From so many on, what grows is told from what an allocator keeps."""
OBJECTS_A_CHECK = 50


def of_models(most: int, folder: Path) -> Outcome:
    """Check one model over and over."""
    model = build_model(tiny_config("gpt2", 300), seed=0)
    for each in model.modules():  # what a check switches off, and has to switch on again
        if isinstance(each, torch.nn.Dropout):
            each.p = 0.25
    return _checked(most, model, lambda: gacheck.check(model), lambda: _state_of_model(model))


def of_trainers(most: int, folder: Path) -> Outcome:
    """Check one Trainer over and over."""
    model = build_model(tiny_config("llama", 300), seed=0)
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=2,
        max_steps=4,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    lengths = python_random.Random(0)
    rows = [[lengths.randrange(300) for _ in range(lengths.randrange(4, 12))] for _ in range(16)]
    fed = [{"input_ids": row, "labels": row} for row in rows]
    trainer = Trainer(model=model, args=arguments, train_dataset=fed)
    before = set(vars(trainer))

    def state() -> object:
        return sorted(set(vars(trainer)) - before), trainer.state.global_step, _state_of_model(model)

    return _checked(most, model, lambda: gacheck.check(trainer), state)


def _checked(most: int, model: torch.nn.Module, check: Callable[[], Any], state: Callable[[], object]) -> Outcome:
    outcome = Outcome(how=f"resident memory of the process after {WARM_UP} checks, collected, against the end")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = (state(), _state_of_process())
        codes = {check().verdict.code for _ in range(WARM_UP)}
        settled, taken = _num_objects(), _resident_bytes()
        for number in range(most):
            with outcome.one(f"check {number + 1}") as problems:
                if {check().verdict.code} != codes:
                    problems.append("the verdict is another")
                after = (state(), _state_of_process())
                problems += [f"{b!r} became {a!r}"[:500] for b, a in zip(before, after, strict=True) if a != b]
        grown = (_resident_bytes() - taken) / MEGABYTE / most
        objects = (_num_objects() - settled) / most
    outcome.how += f": {grown:+.3f} MB and {objects:+.0f} objects a check"
    if grown > MEGABYTES_A_CHECK and most >= ENOUGH_CHECKS:
        outcome.failures.append(f"memory grew by {grown:.3f} MB a check")
    if objects > OBJECTS_A_CHECK:
        outcome.failures.append(f"{objects:.0f} objects stay of every check")
    return outcome


def _state_of_model(model: torch.nn.Module) -> object:
    """Return all that somebody would notice on a model."""
    hooks = [
        len(each._forward_hooks) + len(each._forward_pre_hooks) + len(each._backward_hooks) for each in model.modules()
    ]
    names = [sorted(vars(each)) for each in model.modules()]
    weights = float(sum(p.detach().double().sum() for p in model.parameters()))
    modes = [(each.training, getattr(each, "p", None)) for each in model.modules()]
    return hooks, names, modes, weights, model.training, [p.grad is None for p in model.parameters()]


def _state_of_process() -> object:
    """Return what a process shares among all that runs in it."""
    generators = (python_random.getstate(), numpy.random.get_state()[1].sum(), torch.get_rng_state().sum().item())
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    return (
        hash(generators[0]),
        generators[1:],
        dict(os.environ),
        list(sys.path),
        [type(each).__name__ for each in sys.meta_path],
        handlers,
        threading.active_count(),
        torch.is_grad_enabled(),
        Path.cwd(),
        len(list(Path("/proc/self/fd").iterdir())),
    )


def _num_objects() -> int:
    gc.collect()
    return len(gc.get_objects())


def _resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
