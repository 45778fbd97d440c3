"""Trainings that are drawn by lot go the same way watched and not, to the last bit of all that can be looked at.

What a watched training repeats is of every kind that can remember: models, losses and Trainers that count, draw, keep
and change what they compute by it. A trace of a single repeated forward would show in the weights.
"""

from __future__ import annotations

import enum
import gc
import hashlib
import os
import random
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import gacheck
from gacheck.measure.passes.snapshot import accelerate_kept

# All of them, under every release: tests/releases/test_identity.py.
NUM_TRAININGS = int(os.environ.get("NUM_TRAININGS", "20"))
NUM_STEPS = 3
NUM_OBSERVED = 2
VOCABULARY = 24
WIDTH = 16


class Meter:
    """A small object of somebody's own."""

    def __init__(self) -> None:
        self.total = 0.0
        self.book: list[float] = []

    def add(self, value: float) -> float:
        self.total += value
        self.book.append(self.total)
        return self.total


def llama(**options: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        **options,
    )


class Remembering(LlamaForCausalLM):
    """Changes what it embeds by what it remembers."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.remember()

    def remember(self) -> None:
        """Make the memory."""

    def changed(self, embedded: torch.Tensor) -> torch.Tensor:
        """Change what was embedded."""
        raise NotImplementedError

    def forward(self, input_ids: Any = None, **inputs: Any) -> Any:
        embedded = self.changed(self.get_input_embeddings()(input_ids))
        return super().forward(inputs_embeds=embedded, **inputs)


class Normalising(Remembering):
    """Has running means, as in a BatchNorm."""

    def remember(self) -> None:
        self.norm = torch.nn.BatchNorm1d(WIDTH)

    def changed(self, embedded: torch.Tensor) -> torch.Tensor:
        means = self.norm.running_mean
        assert means is not None
        normal: torch.Tensor = self.norm(embedded.flatten(0, 1)).view_as(embedded)
        return embedded + 0.1 * normal + means.detach().clone()


class Counting(Remembering):
    """Counts its calls, in every way that one can count."""

    def remember(self) -> None:
        self.calls = 0
        self.history: list[int] = []
        self.by_kind = {"all": {"calls": 0}}
        self.counts = torch.zeros(3)
        self.past_torch = torch.zeros(())
        self.array = numpy.zeros(2)
        self.meter = Meter()
        self.function = counting_function()

    def changed(self, embedded: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.history.append(self.calls)
        self.by_kind["all"]["calls"] += 1
        scale = self.counts.sum() + self.past_torch + self.meter.add(1) + self.function() + float(self.array.sum())
        self.counts += 1
        self.past_torch.data += 1
        self.array += 1
        self.last = torch.tensor(float(scale))
        return embedded * (1 + 0.01 * (scale + self.calls + len(self.history) + self.by_kind["all"]["calls"]))


class Drawing(Remembering):
    """Draws from generators of its own, and from everybody's."""

    def remember(self) -> None:
        self.generator = torch.Generator().manual_seed(1)
        self.plain = random.Random(1)
        self.numbers = numpy.random.default_rng(1)
        self.old_numbers = numpy.random.RandomState(1)

    def changed(self, embedded: torch.Tensor) -> torch.Tensor:
        drawn = self.plain.random() + self.numbers.random() + self.old_numbers.random_sample()
        drawn += random.random() + float(numpy.random.random())
        return embedded + 0.01 * (drawn + torch.rand(embedded.shape, generator=self.generator))


class Keeping(Remembering):
    """Keeps what it has seen, in place and by another tensor, and a mean that moves."""

    def remember(self) -> None:
        self.kept: torch.Tensor | None = None
        self.moving = torch.zeros(WIDTH)

    def changed(self, embedded: torch.Tensor) -> torch.Tensor:
        mean = embedded.detach().mean((0, 1))
        out = embedded * (1 + self.moving) + (0.0 if self.kept is None else 0.1 * self.kept)
        self.kept = mean
        self.moving = self.moving.clone() if self.moving[0] > 0 else self.moving
        self.moving.mul_(0.5).add_(mean.abs())
        return out


class Moody(Remembering):
    """Is in another mode every time, and has part of it frozen."""

    def remember(self) -> None:
        self.dropout = torch.nn.Dropout(0.3)

    def changed(self, embedded: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.dropout(embedded)
        self.dropout.train(not self.dropout.training)
        self.dropout.p = 0.2 if self.dropout.p == 0.3 else 0.3
        self.config.calls = getattr(self.config, "calls", 0) + 1
        return out * (1 + 0.01 * self.config.calls)


class Fused(Remembering):
    """Gives no logits where it is handed labels, and changes a tensor that its graph then saves."""

    def remember(self) -> None:
        self.scale = torch.ones(WIDTH)

    def changed(self, embedded: torch.Tensor) -> torch.Tensor:
        self.scale.mul_(1.01)
        return embedded * self.scale

    def forward(self, input_ids: Any = None, labels: Any = None, **inputs: Any) -> Any:
        outputs = super().forward(input_ids, labels=labels, **inputs)
        return outputs if labels is None else type(outputs)(loss=outputs.loss)


def counting_function() -> Callable[[], float]:
    """Return a function that counts its calls where nobody sees it."""
    calls = 0

    def function() -> float:
        nonlocal calls
        calls += 1
        return 0.1 * calls

    return function


def hooked(model: Any) -> Any:
    """Let hooks change the gradients, count them and do the optimizer's work."""
    counts = {"hook": 0, "accumulated": 0, "backward": 0}

    def scaled(gradient: torch.Tensor) -> torch.Tensor:
        counts["hook"] += 1
        return gradient * (1 + 0.01 * counts["hook"])

    def accumulated(parameter: torch.Tensor) -> None:
        counts["accumulated"] += 1
        assert parameter.grad is not None
        parameter.grad.mul_(1 + 0.001 * counts["accumulated"])

    def backward(module: Any, *gradients: Any) -> None:
        counts["backward"] += 1

    def updated(parameter: torch.Tensor) -> None:
        with torch.no_grad():
            parameter -= 0.1 * parameter.grad  # type: ignore[operator]

    weight = model.get_input_embeddings().weight
    weight.register_hook(scaled)
    weight.register_post_accumulate_grad_hook(accumulated)
    model.model.norm.weight.register_post_accumulate_grad_hook(updated)
    model.get_output_embeddings().register_full_backward_hook(backward)
    model.counts = counts
    return model


MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(llama()),
    "llama with dropout": lambda: LlamaForCausalLM(llama(attention_dropout=0.3)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=1, n_head=2, n_positions=32)
    ),
    "running means": lambda: Normalising(llama()),
    "counts": lambda: Counting(llama(attention_dropout=0.1)),
    "draws": lambda: Drawing(llama()),
    "keeps": lambda: Keeping(llama()),
    "fused": lambda: Fused(llama()),
    "moods": lambda: Moody(llama()),
    "hooks": lambda: hooked(LlamaForCausalLM(llama(attention_dropout=0.1))),
}


class RememberingLoss:
    """A loss function that weighs by what it has seen."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.generator = torch.Generator().manual_seed(2)

    def __call__(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        total = torch.nn.functional.cross_entropy(
            outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum"
        )
        weight = 1 + 0.01 * self.meter.add(1) + 0.01 * torch.rand((), generator=self.generator)
        return weight * total / (num_items_in_batch or labels[:, 1:].ne(-100).sum())


class Bookkeeper(Trainer):
    """Counts in `compute_loss` and logs what it has counted."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.books: dict[str, list[float]] = {"losses": []}
        self.meter = Meter()

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        self.books["losses"].append(float(loss.detach()))
        loss = loss * (1 + 0.01 * self.meter.add(1))
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        logs["seen"] = float(len(self.books["losses"]))
        logs["mean"] = sum(self.books["losses"]) / max(1, len(self.books["losses"]))
        super().log(logs, *args, **kwargs)


class Stepper(Trainer):
    """Counts in `training_step`, and changes the gradients by the count."""

    steps_seen = 0

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.steps_seen += 1
        self.state.substeps = self.steps_seen
        self.args.substeps = self.steps_seen
        loss: torch.Tensor = super().training_step(model, inputs, *args, **kwargs)
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(1 + 0.001 * self.steps_seen)
        return loss


class Taught(Trainer):
    """Has a second model with dropout and running means, and a share of its own in the loss."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teacher = Normalising(llama(attention_dropout=0.3))

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        taught = self.teacher(input_ids=inputs["input_ids"]).logits
        logits = outputs.logits
        loss = loss + 0.1 * (taught if logits is None else logits - taught).square().mean()
        return (loss, outputs) if return_outputs else loss


@dataclass(frozen=True)
class Draw:
    """A training that was drawn."""

    seed: int
    model: str
    trainer: type[Trainer]
    loss: str | None
    k: int
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, seed: int) -> Draw:
        lot = random.Random(f"training {seed}")
        names = list(MODELS)
        trainer = lot.choice([Trainer, Trainer, Bookkeeper, Stepper, Taught])
        loss = lot.choice([None, None, "function", "smoothing"])
        options: dict[str, Any] = {
            "optim": lot.choice(["adamw_torch", "sgd"]),
            "learning_rate": lot.choice([1e-3, 1e-1]),
            "max_grad_norm": lot.choice([1.0, 0.0]),
            "per_device_train_batch_size": lot.choice([1, 2, 3]),
        }
        if loss == "smoothing":
            options["label_smoothing_factor"] = 0.1
        if lot.random() < 0.15:
            options["bf16"] = True
        if lot.random() < 0.15:
            options["gradient_checkpointing"] = True
            options["gradient_checkpointing_kwargs"] = {"use_reentrant": False}
        # Every kind of model gets its turns.
        return cls(seed, names[seed % len(names)], trainer, loss, lot.randint(1, 4), options)

    def __str__(self) -> str:
        said = [name for name in ("bf16", "gradient_checkpointing") if name in self.options]
        return "-".join([str(self.seed), self.model, self.trainer.__name__, self.loss or "own", f"k{self.k}", *said])


class Diary(TrainerCallback):
    """Writes down the random state and the gradients after every micro-batch and every step, and draws itself."""

    def __init__(self) -> None:
        self.pages: list[tuple[str, ...]] = []

    def on_substep_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self._write(model)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self._write(model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self._write(model)

    def _write(self, model: Any) -> None:
        gradients = [b"" if p.grad is None else p.grad.numpy().tobytes() for p in model.parameters()]
        self.pages.append((*random_state(), digest(*gradients), repr(random.random())))


def random_state() -> tuple[str, str, str]:
    return (
        digest(repr(random.getstate()).encode()),
        digest(*(repr(part).encode() for part in numpy.random.get_state()[2:]), numpy.random.get_state()[1].tobytes()),
        digest(torch.get_rng_state().numpy().tobytes()),
    )


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"|".join(parts)).hexdigest()[:16]


def make_rows(seed: int) -> list[dict[str, list[int]]]:
    lot = random.Random(seed)
    rows = [[lot.randrange(VOCABULARY) for _ in range(lot.randint(3, 10))] for _ in range(3 * 4 * NUM_STEPS)]
    # A prompt of up to two tokens is not scored.
    prompts = [lot.randint(0, 2) for _ in rows]
    return [{"input_ids": row, "labels": [-100] * n + row[n:]} for row, n in zip(rows, prompts, strict=True)]


def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(name: str, value: int) -> torch.Tensor:
        return torch.tensor([row[name] + [value] * (longest - len(row[name])) for row in rows])

    labels = padded("labels", -100)
    mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows])
    return {"input_ids": padded("input_ids", 0), "labels": labels, "attention_mask": mask}


def train(draw: Draw, folder: Path, *, watched: bool) -> tuple[dict[str, Any], Any]:
    """Make and do a training; return all that can be looked at afterwards, and what the watch found."""
    random.seed(draw.seed)
    numpy.random.seed(draw.seed)
    torch.manual_seed(draw.seed)
    arguments = TrainingArguments(
        str(folder),
        gradient_accumulation_steps=draw.k,
        max_steps=NUM_STEPS,
        logging_steps=1,
        seed=draw.seed,
        remove_unused_columns=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **draw.options,
    )
    diary = Diary()
    trainer = draw.trainer(
        model=MODELS[draw.model](),
        args=arguments,
        train_dataset=make_rows(draw.seed),
        eval_dataset=make_rows(draw.seed)[:1] if draw.seed % 2 else None,
        data_collator=collate,
        compute_loss_func=RememberingLoss() if draw.loss == "function" else None,
        callbacks=[diary],
    )
    attachment = gacheck.attach(trainer, steps=NUM_OBSERVED) if watched else None
    trainer.train()
    facts: dict[str, Any] = {"random state": random_state(), "diary": diary.pages}
    look(trainer, "trainer", facts, {})
    return facts, attachment


# What takes time or says where it ran.
OTHERS = frozenset({"train_runtime", "train_samples_per_second", "train_steps_per_second", "logging_dir"})
LOOKED_INTO = ("transformers.", "accelerate.", "tests.", "torch.optim.", "types")
NOT_LOOKED_INTO = (torch.utils.data.Dataset, torch.utils.data.DataLoader, torch.utils.data.Sampler)


FUNCTIONS = (types.FunctionType, types.MethodType)


def look(value: Any, path: str, facts: dict[str, Any], seen: dict[int, tuple[str, Any]]) -> None:
    """Note all that hangs on a thing, by the way to it; a way of its own, not that of what puts things back."""
    if isinstance(value, (int, float, str, bytes, type(None), torch.dtype, torch.device, enum.Enum)):
        facts[path] = repr(value)
    elif id(value) in seen:
        facts[path] = f"see {seen[id(value)][0]}"
    else:
        seen[id(value)] = path, value
        facts[path] = type(value).__qualname__, state_of(value)
        for name, part in parts_of(value):
            if name.strip(".[]") not in OTHERS:
                look(part, f"{path}{name}", facts, seen)


def state_of(value: Any) -> Any:
    """Return what a tensor, an array or a generator holds."""
    if isinstance(value, torch.Tensor):
        bits = value.detach().contiguous().view(-1).view(torch.uint8)
        return str(value.dtype), tuple(value.shape), value.requires_grad, digest(bits.numpy().tobytes())
    if isinstance(value, numpy.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, torch.Generator):
        return digest(value.get_state().numpy().tobytes())
    if isinstance(value, random.Random):
        return digest(repr(value.getstate()).encode())
    if isinstance(value, numpy.random.Generator):
        return repr(value.bit_generator.state)
    return repr(value.get_state()) if isinstance(value, numpy.random.RandomState) else None


def parts_of(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, torch.Tensor):
        yield ".grad", value.grad if value.is_leaf else None
    elif isinstance(value, dict):
        names = [name if isinstance(name, (str, int)) else type(name).__name__ for name in value]
        # Hooks are numbered through the process.
        is_hooks = all(isinstance(name, int) and isinstance(hook, FUNCTIONS) for name, hook in value.items())
        yield "#", str(len(names) if is_hooks else names)
        yield from () if is_hooks else ((f"[{n}]", part) for n, part in zip(names, value.values(), strict=True))
    elif isinstance(value, (list, tuple)):
        yield "#", len(value)
        yield from ((f"[{i}]", part) for i, part in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield "{}", sorted(map(repr, value))
    elif isinstance(value, FUNCTIONS):
        cells = getattr(value, "__closure__", None) or ()
        if value.__module__.startswith("tests."):
            yield from ((f"<{i}>", cell.cell_contents) for i, cell in enumerate(cells))
    elif isinstance(value, torch.optim.Optimizer):
        yield ".state_dict()", value.state_dict()
    elif isinstance(value, torch.nn.Module) or (
        type(value).__module__.startswith(LOOKED_INTO) and not isinstance(value, NOT_LOOKED_INTO)
    ):
        attributes = getattr(value, "__dict__", {})
        yield "#", str(list(attributes))
        yield from ((f".{name}", part) for name, part in attributes.items())


@pytest.fixture(scope="module", autouse=True)
def little_garbage() -> Iterator[None]:
    """Let the Trainer, which collects garbage, not look through all that is loaded every time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("draw", [Draw.of(seed) for seed in range(NUM_TRAININGS)], ids=str)
def test_a_watched_training_is_the_same(draw: Draw, tmp_path: Path) -> None:
    done = []
    for watched in (False, True):
        with accelerate_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            done.append(train(draw, tmp_path, watched=watched))
    (alone, _), (facts, attachment) = done
    assert {path for path in alone.keys() | facts.keys() if alone.get(path) != facts.get(path)} == set()
    # It was watched indeed: every micro-batch of the observed steps was seen.
    (seen,) = attachment.analysis.record.passes
    observed = [micro_batch.observation for step in seen.steps for micro_batch in step.micro_batches]
    assert len(observed) == NUM_OBSERVED * draw.k
    assert None not in observed
