"""The doors through which gacheck is asked, each with the truth about what it sees."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import gacheck
from gacheck.api import _two_steps as two_steps
from gacheck.config import ExperimentConfig
from gacheck.measure.experiment import measure_auto
from gacheck.measure.heads.rows import make_head_rows
from gacheck.measure.heads.tasks import task_of
from gacheck.measure.models.source import open_model
from gacheck.measure.passes.trainers import training_arguments
from gacheck.measure.session import LEARNING_RATE_PRETRAINED, LEARNING_RATE_RANDOM, Session
from gacheck.measure.text.rows import Collator, make_rows
from gacheck.measure.text.sources import open_text
from gacheck.words.analysis import Analysis, analyse
from tests.trials import planted
from tests.trials.building import CLASSES, Build, folder, make_model, make_trainer
from tests.trials.draw import ATTACH, CHECK, CHECK_MODEL, MADE_UP, RUN, Draw
from tests.trials.faults import FAULTS
from tests.trials.heads import HEADS
from tests.trials.objectives import OBJECTIVES
from tests.trials.truth import BOUNDS, Truth, find_truth


@dataclass(frozen=True)
class Door:
    """One way to ask.

    Attributes:
        num_steps: Optimizer steps that it may show.
        truth: What is true of the training.
        judge: What gacheck says of the same training, built anew; None if it saw nothing.
    """

    num_steps: int
    truth: Callable[[Draw], Truth]
    judge: Callable[[Draw], Analysis | None]


def build(drawn: Draw) -> Build:
    """Return what the Trainer is made of, fault and all."""
    made = OBJECTIVES[drawn.objective].build(drawn)
    if drawn.fault is not None:
        FAULTS[drawn.fault].plant(made)
    return made


def _truth(drawn: Draw, trainer: Any, reference: Any) -> Truth:
    objective = OBJECTIVES[drawn.objective]
    return find_truth(
        trainer,
        reference,
        objective.part(drawn),
        BOUNDS[drawn.precision],
        autocast=drawn.precision == "bfloat16 autocast",
        calls_matter=objective.calls_matter,
    )


def _reference(drawn: Draw) -> Any:
    return make_model(OBJECTIVES[drawn.objective].build(drawn))


def _bare(drawn: Draw) -> Truth:
    return _truth(drawn, make_trainer(build(drawn)), _reference(drawn))


def _check(drawn: Draw) -> Analysis:
    return gacheck.check(make_trainer(build(drawn)))


def _attach(drawn: Draw) -> Analysis | None:
    trainer = make_trainer(build(drawn))
    attachment = gacheck.attach(trainer)
    trainer.train()
    return attachment.analysis


def _check_model(drawn: Draw) -> Analysis:
    return gacheck.check(make_model(build(drawn)), gradient_accumulation_steps=drawn.k)


def _with_made_up_rows(drawn: Draw, model: Any, reference: Any, config: ExperimentConfig, made: Build) -> Truth:
    """Train a head on the rows that gacheck makes up for it, without its watching."""
    rows, collator = make_head_rows(model, task_of_head(drawn), config)
    with tempfile.TemporaryDirectory(prefix="trials-") as place:
        arguments = training_arguments(config, drawn.k, LEARNING_RATE_PRETRAINED, torch.device("cpu"), place)
        trainer = made.trainer_class(
            model=model,
            args=arguments,
            train_dataset=rows.train,
            data_collator=collator,
            compute_loss_func=made.loss_func,
        )
        return _truth(drawn, trainer, reference)


def task_of_head(drawn: Draw) -> str:
    """Return what the body is a head for, as its auto class is called."""
    task = task_of(CLASSES[drawn.body].__name__)
    assert task is not None
    return task


def _bare_model(drawn: Draw) -> Truth:
    if drawn.data != MADE_UP:
        return _bare(drawn)
    made = build(drawn)
    model = make_model(made)
    config = two_steps(drawn.k, model="a head", dtype=str(model.dtype).removeprefix("torch."))
    return _with_made_up_rows(drawn, model.train(), _reference(drawn), config, made)


def _options(drawn: Draw, made: Build) -> dict[str, Any]:
    """Return the options that say which model is run."""
    planted_class = planted.path_of("Model", made.model_class)
    if drawn.body in HEADS:
        saved = Path(folder()) / "saved"
        make_model(made).save_pretrained(saved)
        return {"model": str(saved), "model_class": planted_class, "task": task_of_head(drawn)}
    return {
        "model": "tiny:llama",
        "model_class": planted_class,
        "config_override": {
            "hidden_size": drawn.width,
            "intermediate_size": 2 * drawn.width,
            "num_hidden_layers": drawn.layers,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": drawn.width // 2,
            "initializer_range": drawn.spread,
        },
    }


def _config(drawn: Draw, made: Build) -> ExperimentConfig:
    """Return the options of `gacheck run` for the training."""
    options: dict[str, Any] = {
        **_options(drawn, made),
        "trainer_class": planted.path_of("Trainer", made.trainer_class),
        "gradient_accumulation_steps": (1, drawn.k),
        "effective_batch_size": drawn.k * drawn.rows,
        "max_steps": 2,
        "max_length": 32,
        "optim": drawn.optim,
        "learning_rate": drawn.learning_rate,
        "max_grad_norm": drawn.max_grad_norm,
        "seed": drawn.seed,
        "device": "cpu",
        "dtype": "bfloat16" if drawn.precision == "bfloat16 weights" else "float32",
        "bf16": drawn.precision == "bfloat16 autocast",
        **made.arguments,
    }
    if made.loss_func is not None:
        options["compute_loss_func"] = planted.path_of("loss_func", made.loss_func)
    return ExperimentConfig.model_validate(options)


def _bare_run(drawn: Draw) -> Truth:
    """Train as `gacheck run` does at k, on its rows, without its watching."""
    made = build(drawn)
    config = _config(drawn, made)
    source = open_model(config)
    torch.manual_seed(drawn.seed)
    if drawn.body in HEADS:
        return _with_made_up_rows(drawn, source.load_model()[0].train(), _reference(drawn), config, made)
    tokenizer = source.load_tokenizer()
    model = source.load_model()[0].train()
    right = OBJECTIVES[drawn.objective].build(drawn)
    with_right = config.model_copy(update={"model_class": planted.path_of("RightModel", right.model_class)})
    reference = open_model(with_right).load_model()[0]
    with tempfile.TemporaryDirectory(prefix="trials-") as place:
        arguments = training_arguments(config, drawn.k, LEARNING_RATE_RANDOM, torch.device("cpu"), place)
        trainer = made.trainer_class(
            model=model,
            args=arguments,
            train_dataset=make_rows(open_text(config), tokenizer, config).train,
            data_collator=Collator(tokenizer.pad_token_id),
            compute_loss_func=made.loss_func,
        )
        return _truth(drawn, trainer, reference)


def _run(drawn: Draw) -> Analysis:
    config = _config(drawn, build(drawn))
    return analyse(measure_auto(config, Session(config)))


DOORS: dict[str, Door] = {
    CHECK: Door(2, _bare, _check),
    ATTACH: Door(2, _bare, _attach),
    CHECK_MODEL: Door(1, _bare_model, _check_model),
    RUN: Door(2, _bare_run, _run),
}
