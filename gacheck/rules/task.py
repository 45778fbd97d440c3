"""What a model is trained for: its inputs, where its targets stand, how labels and logits may align."""

from __future__ import annotations

from dataclasses import dataclass

IGNORE_INDEX = -100
"""A label that is not scored. Source: torch.nn.functional.cross_entropy."""


@dataclass(frozen=True)
class Task:
    """One kind of training.

    Attributes:
        name: As in records and the JSON contract.
        inputs: What a row gives to the model.
        labels: The input that holds the targets, (rows, label_dims - 1 more).
        shifted_labels: The input that holds them where the collator has aligned them with the logits; None without.
        label_dims: Dimensions of the labels; the logits have one more, the classes.
        for_the_loss: What a forward is given for the loss alone; without it, it returns logits.
        alignments: Whether a label is scored one position before its own; both where that is to be found out.
        ignore_index: A label that is not scored.
    """

    name: str
    inputs: tuple[str, ...]
    labels: str
    shifted_labels: str | None
    label_dims: int
    for_the_loss: tuple[str, ...]
    alignments: tuple[bool, ...]
    ignore_index: int = IGNORE_INDEX


CAUSAL_LM = Task(
    name="causal-lm",
    inputs=("input_ids", "attention_mask", "labels"),
    labels="labels",
    shifted_labels="shift_labels",
    label_dims=2,
    for_the_loss=("labels", "shift_labels", "num_items_in_batch"),
    alignments=(True, False),
)

CLASSES = Task(
    name="classes",
    inputs=("labels",),
    labels="labels",
    shifted_labels=None,
    label_dims=1,
    for_the_loss=("labels", "num_items_in_batch"),
    alignments=(False,),
)
"""One class a row: what sequences, images, sounds and choices are sorted into."""

TASKS = (CAUSAL_LM, CLASSES)
"""All tasks whose loss may be a cross-entropy; told apart by the dimensions of their labels."""
