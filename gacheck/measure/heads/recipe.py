"""Finds what a row of a head consists of, by trying: which inputs, of which shape, and which labels."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import torch
from accelerate.utils import recursively_apply, send_to_device

from gacheck.measure.heads.collator import HeadCollator
from gacheck.measure.heads.inputs import IN_PLACE_OF_OTHERS, MAKERS, NEVER_GUESSED
from gacheck.measure.heads.labels import Kind, kinds_of
from gacheck.measure.heads.maker import Maker, Row
from gacheck.measure.heads.tasks import takes_labels
from gacheck.measure.heads.untrained import progress, why_untrained
from gacheck.measure.models.inputs import demanded_length, demanded_positions, forward_names
from gacheck.packages import missing_package
from gacheck.watch.batches import Batch
from gacheck.watch.own_loss import find_loss

ROWS = 5
"""In a batch that is tried: no other size is likely to be as large, and be taken for it."""

MOST_VARIED = 100
"""Recipes of which rows can be made."""

NO_LOSS = "its forward returned no loss"
LOSSES_OF_ROWS = "its forward returns a loss of every row, and the Trainer takes one of all"

# How a forward is run, or what is computed from a row's inputs.
_OF_NO_ROW = re.compile(
    r"self|kwargs|args|input|cache|past_.*|use_.*|output_.*|return_.*|interpolate_.*|logits_to_keep|head_mask|"
    r"(.*_)?(position_ids|embeds|outputs|attention_mask|head_mask)"
)


@dataclass(frozen=True)
class Recipe:
    """What a row of a head consists of.

    Attributes:
        inputs: Names of what it is given, each with which of its forms.
        labels: Makes its labels; those alone are kept that the forward names.
        names: All arguments of the forward.
        length: That every row is padded to, where a model takes no other.
    """

    inputs: Mapping[str, int]
    labels: Kind
    names: frozenset[str]
    length: int | None = None

    def row(self, maker: Maker) -> Row:
        """Make a row.

        Raises:
            LookupError: The forward takes no such labels, or they say something of what is not there.
        """
        row: Row = {} if maker.image is None else maker.image.inputs(maker)
        for name, form in ((n, self.inputs[n]) for n in MAKERS if n in self.inputs and n not in row):
            row[name] = MAKERS[name][form](maker, row)
        labels = self.labels(maker, row)
        taken = {name: value for name, value in labels.items() if name in self.names}
        if labels and not taken:
            raise NoSuchLabels(f"its forward takes no {' or '.join(labels)}")
        row |= taken
        whole: Row = recursively_apply(lambda each: each.to(maker.dtype) if each.is_floating_point() else each, row)
        return whole

    def with_input(self, name: str, form: int = 0) -> Recipe:
        """Return the same with an input more, or one in another form; embeddings stand in place of tokens."""
        others = {each: of for each, of in self.inputs.items() if (each, name) != ("input_ids", "inputs_embeds")}
        return replace(self, inputs={**others, name: form})


class NoSuchLabels(LookupError):
    """A forward takes no labels of this kind, whatever else it is given."""


class NoRecipe(Exception):
    """No rows with which a head gives a loss could be made; says what it demands.

    Attributes:
        furthest: What a forward raised that came further than with any other rows.
        recipe: With which it did.
    """

    def __init__(self, told: str, furthest: Exception | None, recipe: Recipe | None) -> None:
        super().__init__(told)
        self.furthest, self.recipe = furthest, recipe


class NotTrained(Exception):
    """The class says itself that it cannot be trained."""


def find_recipe(
    model: Any, make: Callable[[], Maker], collate: HeadCollator, *, widely: bool = True, hint: Recipe | None = None
) -> Recipe:
    """Find what a head's rows have to consist of.

    Each kind of labels is tried with the plain inputs, then with these in other forms and with others besides.

    Args:
        model: On its device.
        make: Makes a maker that begins anew.
        collate: Puts rows together.
        widely: Whether more than the plain inputs is tried.
        hint: What is tried first.

    Raises:
        NoRecipe: It gave no loss with anything that can be made.
        NotTrained: It says that it has none.
    """
    names = forward_names(type(model))
    plain = [Recipe(_main_inputs(model, names), kind, names) for kind in kinds_of(make(), names)]
    search = _Search(model, make, collate)
    for recipe in [hint, *plain] if hint is not None else plain:
        if found := search.fitting(recipe):
            return found
    plain = [recipe for recipe in plain if recipe.labels not in search.not_taken]
    if search.not_trained:
        raise NotTrained(search.not_trained)
    varied = (other for each in plain for other in _variations(each)) if widely else ()
    search.num_asked = 0
    for recipe in takewhile(lambda _: search.num_asked < MOST_VARIED, varied):
        if found := search.fitting(recipe):
            return found
    if search.gave_several:
        raise NotTrained(LOSSES_OF_ROWS)
    untrained = why_untrained(type(model))
    if untrained is not None:
        raise NotTrained(untrained)
    ran = next((each for each in search.refusals if each.startswith(NO_LOSS)), None)
    if ran is not None and not takes_labels(names):
        raise NoRecipe(ran, None, None)
    # What labels of some kind would need, and this head has not, is no demand of its own.
    told = [each for each in search.refusals if not each.startswith(("KeyError", "LookupError", "NoSuchLabels"))]
    raise NoRecipe((told or search.refusals)[0], search.furthest, search.furthest_recipe)


class _Search:
    """Tries recipes, and remembers why they did not fit."""

    def __init__(self, model: Any, make: Callable[[], Maker], collate: HeadCollator) -> None:
        self._model, self._make, self._collate = model, make, collate
        self._device = next(model.parameters()).device
        self.refusals: list[str] = []
        self.not_taken: set[Kind] = set()
        self.num_asked = 0
        self.not_trained = ""
        self.gave_several = False
        self.furthest: Exception | None = None
        self.furthest_recipe: Recipe | None = None

    def fitting(self, recipe: Recipe) -> Recipe | None:
        """Return a recipe with whatever an error demands besides; None where it gives no loss."""
        asked = False
        while True:
            try:
                batch = self._batch(recipe)
                self.num_asked, asked = self.num_asked + (not asked), True
                loss = self._loss(batch)
            except Exception as error:
                if missing_package(error) is not None:
                    raise
                if isinstance(error, NoSuchLabels) or _is_of_no_use(error, recipe):
                    self.not_taken.add(recipe.labels)
                if isinstance(error, NotImplementedError):
                    self.not_trained = str(error)
                self.refusals.append(f"{type(error).__name__}: {error}")
                if self.furthest is None or progress(error) > progress(self.furthest):
                    self.furthest, self.furthest_recipe = error, recipe
                demanded = _demanded(error, recipe)
                longest = self._make().longest
                length = demanded_length(error, max(longest, 1 + (recipe.length or 0)))
                if recipe.length is None and "input_ids" in recipe.inputs:
                    length = length or demanded_positions(error, ROWS, longest)
                if demanded is None and length is None:
                    return None
                recipe = replace(recipe, length=length) if demanded is None else recipe.with_input(demanded)
                continue
            if loss is not None:
                return recipe
            self.refusals.append(NO_LOSS + _unmade(recipe))
            return None

    @torch.no_grad()
    def _batch(self, recipe: Recipe) -> Batch:
        maker = self._make()
        return replace(self._collate, length=recipe.length)([recipe.row(maker) for _ in range(ROWS)])

    @torch.no_grad()
    def _loss(self, batch: Batch) -> torch.Tensor | None:
        with warnings.catch_warnings():
            # Labels of one shape, held against an answer of another.
            warnings.filterwarnings("error", "Using a target size", UserWarning)
            outputs = self._model(**send_to_device(batch, self._device))
            loss = find_loss(outputs)
            self.gave_several |= loss is None and _has_several(outputs)
        return loss if loss is not None and bool(torch.isfinite(loss)) else None


def _has_several(outputs: Any) -> bool:
    """Whether a model gave several losses, one of each row."""
    loss = outputs.get("loss") if isinstance(outputs, dict) else None
    return isinstance(loss, torch.Tensor) and loss.numel() > 1


def _is_of_no_use(error: Exception, recipe: Recipe) -> bool:
    """Whether labels are made of an input that a forward takes in no form."""
    if not isinstance(error, KeyError):
        return False
    kind = "_".join(str(error.args[0]).split("_")[:2])
    return not any(name.startswith(kind) for name in recipe.names)


def _unmade(recipe: Recipe) -> str:
    """Say which arguments of a forward are none that rows have here, in case its loss needs them."""
    names = sorted(name for name in recipe.names - MAKERS.keys() if not _OF_NO_ROW.fullmatch(name))
    names = [name for name in names if not takes_labels((name,))]
    return f" without {', '.join(names)}" if names else ""


def _main_inputs(model: Any, taken: frozenset[str]) -> dict[str, int]:
    main = model.main_input_name
    names = {main} if isinstance(main, str) else set(main)
    if "inputs" in names and "input_ids" in taken:  # of any kind, and text goes by a name of its own
        names = names - {"inputs"} | {"input_ids"}
    if "input_ids" in names:
        names.add("attention_mask")
    return {name: 0 for name in MAKERS if name in names and name in taken}


def _demanded(error: Exception, recipe: Recipe) -> str | None:
    """Return the argument that an error names and that can be made: the longest name, which may contain another."""
    named = [n for n in MAKERS if n in recipe.names and n not in recipe.inputs and re.search(rf"\b{n}\b", str(error))]
    if "input_ids" not in recipe.inputs:  # embeddings are for what takes no tokens
        named = [name for name in named if name != "inputs_embeds"]
    return max(named, key=len, default=None)


def _variations(recipe: Recipe) -> Iterator[Recipe]:
    """Walk through other recipes for the same labels, the nearest first."""
    others = [
        n
        for n in MAKERS
        if n in recipe.names and n not in recipe.inputs and n not in NEVER_GUESSED | IN_PLACE_OF_OTHERS
    ]
    masked = [n for n in NEVER_GUESSED if n in recipe.names and n not in recipe.inputs]
    yield from _reshaped(recipe)
    for name in (*others, *masked):
        yield from _and_reshaped(recipe.with_input(name))
    everything = recipe
    for name in others:
        everything = everything.with_input(name)
    if len(others) > 1:
        if "input_ids" in others and "attention_mask" in masked:
            yield from _and_reshaped(everything.with_input("attention_mask"))
        yield from _and_reshaped(everything)
    if recipe.inputs:  # some make their inputs of their labels
        yield replace(recipe, inputs={})


def _and_reshaped(recipe: Recipe) -> Iterator[Recipe]:
    yield recipe
    yield from _reshaped(recipe)


def _reshaped(recipe: Recipe) -> Iterator[Recipe]:
    for name, form in recipe.inputs.items():
        for other in range(len(MAKERS[name])):
            if other != form:
                yield recipe.with_input(name, other)
