"""Trains a model with a bare Trainer, once at k = 1 and once at k = 4, and says what the loss of the step came to.

    python docs/bare_trainer.py FOLDER …

Nothing of gacheck is in it: torch, transformers, and what a folder holds: `model/`, as save_pretrained wrote it, and
`batches.pt`, 16 rows as one batch and the same rows as four micro-batches. What the step ought to come to, and what it
would come to by each known fault, is computed by plain torch from each micro-batch by itself. The answer is left in the
folder as `bare.json`; `make_confirmation.py` holds it against the verdict.
"""

from __future__ import annotations

import importlib
import json
import math
import multiprocessing
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import numpy
import torch
import transformers
from pebble import ProcessPool
from torch.nn.functional import cross_entropy
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

Batch = dict[str, Any]
IGNORED = -100
# A loss is that of a rule up to rounding; where several roundings meet, somewhat more.
SAME_LOSS = 1e-4


class Gradient(TrainerCallback):
    """Keeps the gradient with which the optimizer is about to step."""

    def __init__(self) -> None:
        self.value = torch.zeros(0)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.value = gradient_of(kwargs["model"])


def gradient_of(model: torch.nn.Module) -> torch.Tensor:
    """Return the gradient of all parameters as one vector."""
    gradients = (torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters() if p.requires_grad)
    return torch.cat([each.detach().double().flatten() for each in gradients])


def load_model(folder: Path) -> Any:
    """Load a model in which nothing is left to chance: no dropout, and the same draws in every forward."""
    facts = json.loads((folder / "class.json").read_text(encoding="utf-8"))
    model = getattr(importlib.import_module(facts["module"]), facts["name"]).from_pretrained(folder / "model").train()
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, float) and ("drop" in name or isinstance(module, torch.nn.Dropout)):
                setattr(module, name, 0.0)
    kept = [value for module in model.modules() for value in vars(module).values()]
    generators = [each for each in kept if isinstance(each, torch.Generator)]
    model.register_forward_pre_hook(lambda *given: seed(generators))
    return model


def seed(generators: Sequence[torch.Generator]) -> None:
    """Begin all draws anew, also those from generators that a model keeps."""
    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)
    for generator in generators:
        generator.manual_seed(0)


def train(model: Any, batches: Sequence[Batch]) -> tuple[bool, float, torch.Tensor]:
    """Do one optimizer step, a batch a micro-batch; return the flag, the loss that is logged, and the gradient."""
    gradient = Gradient()
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=len(batches),
            max_steps=1,
            learning_rate=0.0,
            max_grad_norm=0.0,
            optim="sgd",
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            save_strategy="no",
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )
        trainer = Trainer(
            model=model,
            args=args,
            train_dataset=list(batches),
            data_collator=lambda rows: rows[0],
            callbacks=[gradient],
        )
        trainer.remove_callback(PrinterCallback)
        # What it logs is rounded; this is not.
        return trainer.model_accepts_loss_kwargs, trainer.train().training_loss, gradient.value


def alone(model: Any, batch: Batch) -> tuple[float, torch.Tensor, Any]:
    """Return loss and gradient of a batch by itself, and what the model returned."""
    model.zero_grad()
    outputs = model(**batch)
    loss = outputs["loss"] if isinstance(outputs, dict) else outputs[0]
    loss = loss.mean()
    loss.backward()
    return float(loss), gradient_of(model), outputs


def count_targets(batch: Batch, logits: Any, loss: float) -> int | None:
    """Count the labels that a mean cross-entropy scores; None where the loss is another."""
    labels = batch.get("labels")
    if not torch.is_tensor(labels) or not torch.is_tensor(logits) or labels.is_floating_point():
        return None
    if logits.shape[:-1] != labels.shape:
        return None
    found = []
    for scored, targets in (
        ((logits[:, :-1], labels[:, 1:]), (logits, labels)) if labels.dim() > 1 else ((logits, labels),)
    ):
        mean = float(cross_entropy(scored.double().flatten(0, -2), targets.flatten(), ignore_index=IGNORED))
        if math.isclose(mean, loss, rel_tol=SAME_LOSS, abs_tol=1e-6):
            found.append((abs(mean - loss), int((targets != IGNORED).sum())))
    # A model that knows nothing yet may give nearly the same for both.
    return min(found)[1] if found else None


def holds_rows_together(outputs: Any, batch: Batch) -> bool:
    """Whether a model holds every row against every other, as images against texts: no part is a part of the whole."""
    size = len(next(value for value in batch.values() if torch.is_tensor(value)))
    values = outputs.values() if isinstance(outputs, dict) else outputs
    return any(torch.is_tensor(value) and value.shape == (size, size) for value in values)


def weights(targets: Sequence[int | None], labels: Sequence[int | None]) -> dict[str, list[float]]:
    """Return by what each way of normalising multiplies the loss of each micro-batch."""
    k = len(targets)
    found = {"mean of means": [1 / k] * k, "sum of means": [1.0] * k, "mean of means / k": [1 / k**2] * k}
    u = [count for count in labels if count is not None]
    n = [count for count in targets if count is not None]
    if len(u) == k and sum(u):
        found["mean over labels"] = [count / sum(u) for count in u]
    if len(n) == k and sum(n):
        found["mean over tokens"] = [count / sum(n) for count in n]
        found["mean over tokens / k"] = [count / sum(n) / k for count in n]
        found["sum over tokens"] = [float(count) for count in n]
        # Divided by the count of all labels, one of which in every row nothing predicts.
        found["tokens / labels"] = [count / sum(u) for count in n]
    return found


def count_labels(batch: Batch) -> int | None:
    """Count the labels as the Trainer does."""
    labels = batch.get("labels")
    return int((labels != IGNORED).sum()) if torch.is_tensor(labels) else None


def answer(folder: Path) -> dict[str, Any]:
    """Train, compute what would be right and what each fault would give, and tell all of it."""
    model = load_model(folder)
    batches = torch.load(folder / "batches.pt", weights_only=True)
    parts = [(*alone(model, batch), batch) for batch in batches["micro"]]
    in_one, slope, outputs = alone(model, batches["whole"])
    total, slopes = sum(each for each, *_ in parts), sum(each for _, each, *_ in parts)
    model.zero_grad()
    targets = [count_targets(batch, getattr(given, "logits", None), loss) for loss, _, given, batch in parts]
    # What a loss in one batch is nearer to, and its gradient: the sum of its parts, or their mean.
    adds_up = abs(in_one - total) < abs(in_one - total / len(parts))
    adds_up = adds_up and difference(slope, slopes) < difference(slope, slopes / len(parts))
    together = holds_rows_together(outputs, batches["whole"]) and holds_rows_together(*parts[0][2:])
    told: dict[str, Any] = {"expected": {}, "adds_up": adds_up and not together}
    try:
        whole = train(load_model(folder), [batches["whole"]])
        flag, loss, gradient = train(load_model(folder), batches["micro"])
    except Exception as error:  # what it raises is what there is to tell
        return {**told, "error": one_line(error)}
    for name, factors in weights(targets, [count_labels(batch) for *_, batch in parts]).items():
        expected = sum(factor * each for factor, (_, each, *_) in zip(factors, parts, strict=True))
        told["expected"][name] = {
            "loss": sum(factor * each for factor, (each, *_) in zip(factors, parts, strict=True)),
            "gradient_error": difference(gradient, expected),
        }
    return {
        **told,
        "flag": flag,
        "loss": [whole[1], loss],
        "norm": [float(whole[2].norm()), float(gradient.norm())],
        "gradient_error": difference(gradient, whole[2]),
    }


def difference(gradient: torch.Tensor, expected: Any) -> float:
    """Return by how much a gradient is off, relative."""
    size = float(expected.norm())
    return float((gradient - expected).norm()) / size if size else float(gradient.norm())


def answer_in(folder: Path) -> None:
    """Leave the answer in the folder."""
    (folder / "bare.json").write_text(json.dumps(answer(folder)), encoding="utf-8")


def in_processes(
    work: Callable[[Any], None], things: Sequence[Any], jobs: int, seconds: float
) -> Iterator[tuple[Any, str | None]]:
    """Do the work on each thing in a process of its own; yield why it failed, or None."""
    # What is loaded here is loaded in each of them already.
    with ProcessPool(max_workers=jobs, max_tasks=1, context=multiprocessing.get_context("fork")) as pool:
        futures = [(thing, pool.schedule(_try, args=[work, thing], timeout=seconds)) for thing in things]
        for thing, future in futures:
            error = future.exception()
            yield thing, future.result() if error is None else one_line(error)


def _try(work: Callable[[Any], None], thing: Any) -> str | None:
    """Do the work; say why it failed. Not every error can be handed from one process to another."""
    try:
        work(thing)
    except Exception as error:  # whatever it is, it is of this thing alone
        return one_line(error)
    return None


def one_line(error: BaseException) -> str:
    """Write an error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def quiet() -> None:
    """Keep warnings and logs off the terminal; one thread for each process."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)


def main(folders: Sequence[str], jobs: int = 2, seconds: float = 120) -> None:
    """Answer in every folder; what could not be answered is told there too."""
    quiet()
    for folder, error in in_processes(answer_in, [Path(each) for each in folders], jobs, seconds):
        if error is not None:
            (folder / "bare.json").write_text(json.dumps({"expected": {}, "failed": error}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
