"""Makes the labels of a head: what its kind of target is, tried where its task leaves it open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gacheck.measure.heads.inputs import CHOICES, Maker, Row, of_images
from gacheck.rules.task import IGNORE_INDEX

# Of the tokens of a row that a masked language model is to find again.
MASKED = 0.3
MOST_OBJECTS = 4
"""In an image."""

Labels = dict[str, Any]


def num_labels(maker: Maker) -> int:
    """Return how many classes there are."""
    return int(getattr(maker.config, "num_labels", None) or 2)


def one_class(maker: Maker, row: Row) -> Labels:
    """One of the classes, or of the choices."""
    most = CHOICES if maker.task == "multiple-choice" else num_labels(maker)
    return {"labels": torch.tensor(maker.integer(0, max(most, 2)))}


def number(maker: Maker, row: Row) -> Labels:
    """Numbers: as many as a regression predicts."""
    count = num_labels(maker)
    return {"labels": maker.normal(count) if count > 1 else maker.normal(1)[0]}


def several_classes(maker: Maker, row: Row) -> Labels:
    """Of each class whether it holds."""
    return {"labels": torch.randint(0, 2, (num_labels(maker),), generator=maker.generator).float()}


def class_per_token(maker: Maker, row: Row) -> Labels:
    """A class for every token."""
    return {"labels": torch.randint(0, num_labels(maker), row["input_ids"].shape, generator=maker.generator)}


def masked_tokens(maker: Maker, row: Row) -> Labels:
    """The tokens themselves, at some places; the others are not scored."""
    chosen = torch.rand(row["input_ids"].shape, generator=maker.generator) < MASKED
    chosen[..., 0] = True  # no row is without
    return {"labels": row["input_ids"].where(chosen, IGNORE_INDEX)}


def same_tokens(maker: Maker, row: Row) -> Labels:
    """The tokens themselves, but for those of images."""
    return {"labels": row["input_ids"].masked_fill(of_images(maker, row["input_ids"]), IGNORE_INDEX)}


def other_tokens(maker: Maker, row: Row) -> Labels:
    """Tokens of their own, as many as there happen to be."""
    return {"labels": maker.tokens(maker.length())}


def few_tokens(maker: Maker, row: Row) -> Labels:
    """Fewer tokens than positions, as where each is found somewhere among them."""
    return {"labels": maker.tokens(maker.integer(2, 6))}


def span(maker: Maker, row: Row) -> Labels:
    """Where an answer begins and ends."""
    first = maker.integer(0, row["input_ids"].shape[-1] - 1)
    last = maker.integer(first, row["input_ids"].shape[-1])
    return {"start_positions": torch.tensor(first), "end_positions": torch.tensor(last)}


def follows(maker: Maker, row: Row) -> Labels:
    """Whether a sentence follows the other."""
    return {"labels": torch.tensor(maker.integer(0, 2))}


def pretraining(maker: Maker, row: Row) -> Labels:
    """Masked tokens, and whether the second sentence follows the first."""
    follow = torch.tensor(maker.integer(0, 2))
    return {**masked_tokens(maker, row), "next_sentence_label": follow, "sentence_order_label": follow}


def map_of_classes(maker: Maker, row: Row) -> Labels:
    """A class for every pixel."""
    return {"labels": torch.randint(0, num_labels(maker), row["pixel_values"].shape[-2:], generator=maker.generator)}


def map_of_numbers(maker: Maker, row: Row) -> Labels:
    """A number for every pixel."""
    return {"labels": maker.normal(*row["pixel_values"].shape[-2:]).abs()}


def boxes(maker: Maker, row: Row) -> Labels:
    """Some objects, each a class and a box: centre, width and height as shares of the image."""
    number = maker.integer(1, MOST_OBJECTS + 1)
    classes = torch.randint(0, num_labels(maker), (number,), generator=maker.generator)
    sizes = 0.2 + 0.2 * torch.rand(number, 4, generator=maker.generator)
    return {"labels": {"class_labels": classes, "boxes": sizes}}


def masks(maker: Maker, row: Row) -> Labels:
    """Some objects, each a class and the pixels that it covers."""
    number = maker.integer(1, MOST_OBJECTS + 1)
    classes = torch.randint(0, num_labels(maker), (number,), generator=maker.generator)
    covered = torch.randint(0, 2, (number, *row["pixel_values"].shape[-2:]), generator=maker.generator).float()
    return {"class_labels": classes, "mask_labels": covered}


def masked_patches(maker: Maker, row: Row) -> Labels:
    """Half of the patches of an image or a video, to be found again."""
    *frames, _, height, width = row["pixel_values"].shape
    patch = int(maker.field("patch_size") or 1)
    number = (
        (height // patch) * (width // patch) * (frames[0] // int(maker.field("tubelet_size") or 1) if frames else 1)
    )
    order = torch.randperm(number, generator=maker.generator)
    return {"bool_masked_pos": order < number // 2}


def no_labels(maker: Maker, row: Row) -> Labels:
    """None: the loss is about the inputs themselves."""
    return {}


Kind = Callable[[Maker, Row], Labels]

OF_TASK: dict[str, tuple[Kind, ...]] = {
    "causal-lm": (same_tokens,),
    "image-text-to-text": (same_tokens,),
    "multimodal-lm": (same_tokens,),
    "masked-lm": (masked_tokens,),
    "pre-training": (pretraining, masked_tokens, same_tokens, masked_patches, no_labels),
    "masked-image-modeling": (masked_patches, no_labels),
    "seq2seq-lm": (other_tokens, same_tokens),
    "speech-seq2seq": (other_tokens, same_tokens),
    "sequence-classification": (one_class,),
    "token-classification": (class_per_token,),
    "question-answering": (span,),
    "document-question-answering": (span,),
    "multiple-choice": (one_class,),
    "next-sentence-prediction": (follows,),
    "image-classification": (one_class,),
    "video-classification": (one_class,),
    "audio-classification": (one_class,),
    "audio-x-vector": (one_class,),
    "ctc": (few_tokens,),
    "rnnt": (few_tokens,),
    "tdt": (few_tokens,),
    "semantic-segmentation": (map_of_classes,),
    "depth-estimation": (map_of_numbers,),
    "object-detection": (boxes,),
    "universal-segmentation": (masks,),
    "instance-segmentation": (masks, boxes),
    "visual-question-answering": (several_classes, one_class, same_tokens),
}
"""What the auto classes' heads are taught; where several are listed, the first with which there is a loss."""

OTHERWISE: tuple[Kind, ...] = (
    one_class,
    same_tokens,
    other_tokens,
    several_classes,
    map_of_classes,
    map_of_numbers,
    boxes,
    no_labels,
)
"""What is tried of a head of any other task."""


def kinds_of(maker: Maker) -> tuple[Kind, ...]:
    """Return what to try, in order."""
    problem = getattr(maker.config, "problem_type", None)
    is_sequence = maker.task == "sequence-classification"
    if problem == "regression" or (problem is None and is_sequence and num_labels(maker) == 1):
        return (number,)
    if problem == "multi_label_classification":
        return (several_classes,)
    return OF_TASK.get(maker.task or "", OTHERWISE)
