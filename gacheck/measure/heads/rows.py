"""Rows for a head, made up: its inputs and labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import transformers
from accelerate.utils import recursively_apply, send_to_device

from gacheck.config import ExperimentConfig
from gacheck.errors import ConfigError, ModelError, one_line
from gacheck.frames import place_of
from gacheck.measure.heads.collator import HeadCollator
from gacheck.measure.heads.images import find_image
from gacheck.measure.heads.maker import SHORTEST, Image, Maker, Row
from gacheck.measure.heads.recipe import NoRecipe, NotTrained, Recipe, find_recipe
from gacheck.measure.heads.untrained import is_own_fault
from gacheck.measure.models.inputs import forward_names
from gacheck.measure.models.parts import text_config
from gacheck.measure.text.rows import Rows
from gacheck.record.run import DataFacts
from gacheck.rules.task import IGNORE_INDEX

IMAGE_AND_TEXT = "image-text-to-text"
WITH_IMAGES = frozenset({IMAGE_AND_TEXT, "multimodal-lm", "pre-training", ""})
"""Tasks of what may be given an image and a text with places for it."""


def make_head_rows(
    model: Any, task: str, config: ExperimentConfig, *, widely: bool = True, hint: Recipe | None = None
) -> tuple[Rows, HeadCollator]:
    """Make as many rows as the largest pass needs, and what collates them.

    Args:
        model: On its device.
        task: As its auto class is called.
        config: The experiment.
        widely: Whether other shapes and further inputs are tried where the plain ones give no loss.
        hint: What is tried first.

    Raises:
        ModelError: The head gave no loss with any that can be made.
    """
    pad = getattr(text_config(model.config), "pad_token_id", None)
    pad = pad if isinstance(pad, int) and pad >= 0 else 0
    collate = HeadCollator(pad, _decoder_inputs(model, pad))

    first = next(p for p in model.parameters() if p.is_floating_point())

    @torch.no_grad()
    def ask(row: Row) -> Any:
        return model(**send_to_device(collate([row]), first.device))

    def maker(image: Image | None) -> Maker:
        generator = torch.Generator().manual_seed(config.seed)
        longest, answers = max(SHORTEST, config.max_length // 2), _num_answers(model)
        return Maker(model.config, task, generator, longest, image, first.dtype, ask, answers)

    find = partial(find_recipe, collate=collate, widely=widely, hint=hint)
    try:
        recipe, image = _with_image_or_without(model, maker, find)
    except NotTrained as error:
        raise cannot_be_trained(type(model).__name__, one_line(str(error))) from error
    except NoRecipe as error:
        raise _no_rows(type(model).__name__, task, error) from error
    one = maker(image)
    rows = [recipe.row(one) for _ in range(config.num_rows)]
    lengths = [row["input_ids"].shape[-1] if "input_ids" in row else 0 for row in rows]
    text = repr([recursively_apply(torch.Tensor.tolist, row) for row in rows])
    facts = DataFacts(
        source=f"made up for {task or type(model).__name__}: {', '.join(rows[0])}",
        num_rows=len(rows),
        num_heldout_rows=0,
        min_length=min(lengths),
        max_length=max(lengths),
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
    )
    return Rows(rows, [], facts), replace(collate, length=recipe.length)


def cannot_be_trained(class_name: str, why: str) -> ModelError:
    """Explain that a class has no loss, by what it says itself."""
    return ModelError(
        f"{class_name} cannot be trained.",
        why=f"transformers {transformers.__version__} has no loss for it: {why}",
        fix="choose a class that is made for training",
    )


def _no_rows(class_name: str, task: str, error: NoRecipe) -> ModelError:
    """Explain that no rows could be made, by what a forward said that came further than any other."""
    furthest = error.furthest
    if furthest is not None and is_own_fault(furthest):
        return ModelError(
            f"{class_name} cannot be trained.",
            why=f"Its own code in transformers {transformers.__version__} fails, whatever it is given: "
            f"{type(furthest).__name__}: {one_line(furthest)}{place_of(furthest)}.",
            fix="choose a class that is made for training",
        )
    named = one_line(str(error))
    if furthest is not None and not isinstance(furthest, LookupError):
        named = f"{type(furthest).__name__}: {one_line(furthest)}{place_of(furthest)}"
    return ModelError(
        f"No rows could be made for {class_name}: {named}.",
        why=f"The inputs and labels of {task or 'such'} heads are made up, and this one demands something else.",
        fix="attach to a training of yours on data of its own:  gacheck attach -- python train.py",
    )


def _with_image_or_without(
    model: Any, make: Callable[[Image | None], Maker], find: Callable[[Any, Callable[[], Maker]], Recipe]
) -> tuple[Recipe, Image | None]:
    """Find rows of images and text where a model is made for both and takes them; else of text alone."""
    plain = partial(make, None)
    image = find_image(model, plain()) if (plain().task or "") in WITH_IMAGES else None
    if image is not None:
        with suppress(NoRecipe):
            return find(model, partial(make, image)), image
    return find(model, plain), None


def _num_answers(model: Any) -> int | None:
    """Return how many tokens a model can answer with; None where it does not say."""
    with suppress(Exception):  # many have no such embeddings, and say so in their own ways
        return int(model.get_output_embeddings().weight.shape[0])
    return None


def _decoder_inputs(model: Any, pad: int) -> Callable[..., torch.Tensor] | None:
    """Return what makes a decoder's inputs of labels: the model's own way, or each label after the one before it."""
    if "decoder_input_ids" not in forward_names(type(model)):
        return None
    start: int | None = getattr(model.config, "decoder_start_token_id", None)
    own = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    blank: int | None = getattr(model.config, "blank_token_id", None)
    first = start if blank is None else blank
    if own is not None or first is None:
        return own

    def shifted(labels: torch.Tensor) -> torch.Tensor:
        known = labels.masked_fill(labels == IGNORE_INDEX, pad)
        whole = torch.cat([torch.full_like(known[:, :1], first), known], 1)
        # A transducer says after each token what comes next, after the last too.
        return whole if blank is not None else whole[:, :-1]

    return shifted


def refuse_text_options(config: ExperimentConfig, task: str) -> None:
    """Refuse options that speak of text to train on, where the rows are made up.

    Raises:
        ConfigError: One is given.
    """
    given = {"--dataset": config.dataset is not None, "--packing": config.packing}
    for option in (name for name, is_given in given.items() if is_given):
        raise ConfigError(
            f"{option} goes with a language model, not with the task {task}.",
            why="The rows of other heads are made up: their inputs and labels by what the head asks for.",
            fix=f"leave {option} out, or attach to your own training:  gacheck attach -- python train.py",
        )
