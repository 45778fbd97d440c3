"""Makes the labels of a head: what its kind of target is, tried where its task leaves it open."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch

from gacheck.measure.heads.answers import (
    chances_of_each,
    class_of_each,
    numbers_of_each,
    one_of_each,
    replaced_tokens,
)
from gacheck.measure.heads.codes import codes_after_text, dialogue, latents_after_text, sound_after_text, words_of_steps
from gacheck.measure.heads.inputs import ENTITIES, QUESTIONS, of_images
from gacheck.measure.heads.maker import CHOICES, Maker, Row
from gacheck.measure.heads.pixels import (
    boxes,
    map_of_classes,
    map_of_numbers,
    masked_boxes,
    masked_patches,
    masks,
    named_patches,
    num_labels,
    painted_image,
)
from gacheck.measure.heads.series import class_of_a_series, how_it_goes_on, numbers_of_a_series
from gacheck.measure.heads.sounds import codes, codes_of_a_step, spectrogram_to_say, spoken_tokens
from gacheck.rules.task import IGNORE_INDEX

OF_THE_WHOLE = ("next_sentence_label", "sentence_order_label", "sentence_image_labels", "matched_label")
"""What two parts that follow one another, or belong together, are called."""

AS_FEW = 4
"""Tokens that are found among the positions of every row."""

# Of the tokens of a row that a masked language model is to find again.
MASKED = 0.3

Labels = dict[str, Any]


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


def as_few_tokens(maker: Maker, row: Row) -> Labels:
    """The same, in all rows as many: some heads tell padding by another mark than -100."""
    return {"labels": maker.tokens(AS_FEW)}


def span(maker: Maker, row: Row) -> Labels:
    """Where an answer begins and ends."""
    first = maker.integer(0, row["input_ids"].shape[-1] - 1)
    last = maker.integer(first, row["input_ids"].shape[-1])
    return {"start_positions": torch.tensor(first), "end_positions": torch.tensor(last)}


def spans(maker: Maker, row: Row) -> Labels:
    """The same for each of several questions."""
    found = [span(maker, row) for _ in range(QUESTIONS)]
    return {name: torch.stack([each[name] for each in found]) for name in found[0]}


def answer_or_none(maker: Maker, row: Row) -> Labels:
    """Where an answer begins and ends, and whether there is one."""
    possible = torch.tensor(float(maker.integer(0, 2)))
    return {**span(maker, row), "is_impossible": possible, "cls_index": torch.tensor(0)}


def links(maker: Maker, row: Row) -> Labels:
    """Which tokens begin something, and which token follows each; the first follows the last."""
    places = torch.arange(1, row["input_ids"].shape[-1] + 1) % row["input_ids"].shape[-1]
    begins = class_per_token(maker, row)["labels"]
    return {"labels": places, "initial_token_labels": begins, "subsequent_token_labels": places}


def class_per_entity(maker: Maker, row: Row) -> Labels:
    """A class for each entity of the text."""
    return {"labels": torch.randint(0, num_labels(maker), (ENTITIES,), generator=maker.generator)}


def pairs(maker: Maker, row: Row) -> Labels:
    """None: which of the other rows each belongs to is the question."""
    return {"return_loss": True}


def three_numbers(maker: Maker, row: Row) -> Labels:
    """How long something lasts, and its beginning and end as shares of that."""
    ends = torch.rand(2, generator=maker.generator).sort().values
    return {"labels": torch.cat([torch.tensor([10.0]), ends])}


def follows(maker: Maker, row: Row) -> Labels:
    """Whether a sentence follows the other."""
    return {"labels": torch.tensor(maker.integer(0, 2))}


def pretraining(maker: Maker, row: Row) -> Labels:
    """Masked tokens, and whether the second sentence follows the first."""
    follow = torch.tensor(maker.integer(0, 2))
    return {**masked_tokens(maker, row), **dict.fromkeys(OF_THE_WHOLE, follow)}


def pretraining_with_regions(maker: Maker, row: Row) -> Labels:
    """The same, with nothing to find again among the regions of an image that follow the text."""
    regions = row["visual_embeds"].shape[0]
    labels = pretraining(maker, row)
    return {**labels, "labels": torch.cat([labels["labels"], torch.full((regions,), IGNORE_INDEX)])}


def pretraining_with_images(maker: Maker, row: Row) -> Labels:
    """Masked tokens and masked patches, and whether text and image belong together."""
    patches = named_patches(maker, row)["bool_masked_pos"]
    names = torch.randint(maker.count("vocab_size", otherwise=2), patches.shape, generator=maker.generator)
    labels = masked_tokens(maker, row)["labels"]
    return {
        **pairs(maker, row),
        "bool_masked_pos": patches,
        "mim_labels": names.where(patches, IGNORE_INDEX),
        "mlm_labels": labels,
        "itm_labels": torch.tensor(maker.integer(0, 2)),
    }


def tokens_and_others(maker: Maker, row: Row) -> Labels:
    """Masked tokens, and another text that resembles each: of all rows its own is to be told."""
    other = maker.tokens(*row["input_ids"].shape)
    seen = torch.ones_like(other)
    labels = masked_tokens(maker, row)["labels"]
    return {
        "labels_input_ids": labels,
        "labels_attention_mask": seen,
        "attack_input_ids": other,
        "attack_attention_mask": seen,
    }


def no_labels(maker: Maker, row: Row) -> Labels:
    """None: the loss is about the inputs themselves."""
    return {}


def actions(maker: Maker, row: Row) -> Labels:
    """What is to be done at each step, and the noise from which it is to be found, drawn beforehand."""
    shape = maker.count("chunk_size", otherwise=8), maker.count("max_action_dim", "act_dim", otherwise=4)
    share = torch.rand((), generator=maker.generator)
    return {"actions": maker.normal(*shape), "noise": maker.normal(*shape), "timestep": share}


Kind = Callable[[Maker, Row], Labels]

OF_TASK: dict[str, tuple[Kind, ...]] = {
    "causal-lm": (same_tokens,),
    "image-text-to-text": (same_tokens, other_tokens, actions),
    "multimodal-lm": (same_tokens,),
    "masked-lm": (masked_tokens,),
    "pre-training": (
        replaced_tokens,
        pretraining,
        pretraining_with_regions,
        pretraining_with_images,
        masked_tokens,
        same_tokens,
        spans,
        masked_patches,
        tokens_and_others,
        no_labels,
    ),
    "masked-image-modeling": (masked_patches, named_patches, no_labels),
    "seq2seq-lm": (other_tokens, same_tokens),
    "speech-seq2seq": (other_tokens, same_tokens, codes_of_a_step, words_of_steps),
    "sequence-classification": (one_class,),
    "token-classification": (class_per_token, links),
    "question-answering": (span, answer_or_none, several_classes, one_class),
    "document-question-answering": (span,),
    "multiple-choice": (one_class,),
    "next-sentence-prediction": (follows,),
    "image-classification": (one_class,),
    "video-classification": (one_class,),
    "audio-classification": (one_class,),
    "audio-frame-classification": (one_of_each, class_of_each),
    "audio-x-vector": (one_class,),
    "ctc": (few_tokens, as_few_tokens),
    "rnnt": (few_tokens, as_few_tokens),
    "tdt": (few_tokens, as_few_tokens),
    "semantic-segmentation": (map_of_classes,),
    "image-segmentation": (map_of_classes, masked_boxes, chances_of_each, painted_image),
    "depth-estimation": (map_of_numbers,),
    "object-detection": (boxes,),
    "zero-shot-object-detection": (boxes,),
    "zero-shot-image-classification": (pairs,),
    "universal-segmentation": (masks,),
    "instance-segmentation": (masks, boxes, masked_boxes),
    "visual-question-answering": (several_classes, one_class, same_tokens, as_few_tokens),
    "text-to-spectrogram": (spectrogram_to_say, spoken_tokens),
    "text-to-waveform": (same_tokens, codes, spoken_tokens, codes_after_text, latents_after_text, sound_after_text),
    "time-series-prediction": (how_it_goes_on,),
}
"""What the auto classes' heads are taught; where several are listed, the first with which there is a loss."""

OTHERWISE: tuple[Kind, ...] = (
    one_class,
    same_tokens,
    other_tokens,
    several_classes,
    class_per_token,
    class_per_entity,
    map_of_classes,
    map_of_numbers,
    masks,
    boxes,
    masked_boxes,
    pairs,
    how_it_goes_on,
    class_of_a_series,
    numbers_of_a_series,
    spectrogram_to_say,
    codes,
    class_of_each,
    three_numbers,
    chances_of_each,
    numbers_of_each,
    dialogue,
    as_few_tokens,
    no_labels,
)
"""What is tried of a head of any other task."""


def kinds_of(maker: Maker, names: Collection[str] = ()) -> tuple[Kind, ...]:
    """Return what to try, in order.

    Args:
        maker: Of the head.
        names: What its forward takes.
    """
    problem = getattr(maker.config, "problem_type", None)
    is_sequence = maker.task == "sequence-classification"
    if problem == "regression" or (problem is None and is_sequence and num_labels(maker) == 1):
        return (number,)
    if problem == "multi_label_classification":
        return (several_classes,)
    kinds = OF_TASK.get(maker.task or "", OTHERWISE)
    if kinds[:2] == (other_tokens, same_tokens) and "decoder_input_ids" not in names:
        # What it writes goes on from what it reads. Other tokens may happen to be as many.
        return (same_tokens, other_tokens, *kinds[2:])
    return kinds
