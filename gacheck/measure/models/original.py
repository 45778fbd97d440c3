"""The original of a stand-in, built on the meta device, where a trillion parameters cost neither memory nor time.

It says which classes of module a stand-in has to hold; and where its config leaves open what its class needs, the
error names the field.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from transformers import configuration_utils

from gacheck.errors import ModelError
from gacheck.measure.models.demands import give_demanded, raising_lines
from gacheck.measure.models.dropout import switch_off_dropout_in
from gacheck.measure.models.inputs import forward_names
from gacheck.measure.models.parts import all_configs, modeling_source
from gacheck.measure.models.shrinking import TOKEN_ID, UNK, shrink
from gacheck.measure.models.sizes import HEAD_WIDTH, OPEN, SIZES, reduced
from gacheck.measure.models.tokenizer import VOCABULARY
from gacheck.measure.user_code import what_happened

_MOST_OPEN = 12
"""Fields of one config that are filled; a class that needs more is for checkpoints alone."""

_NUMBER = 4
"""Where a field's name says nothing of its size."""
_FRACTION = "1/2"
"""Of a field whose class splits what stands there."""
_USUAL = {"rope_theta": 10_000.0, "initializer_range": 0.02, "logit_scale_init_value": 2.6592, "spatial_merge_size": 2}
_ROTARY = {"rope_type": "default", "rope_theta": 10_000.0}
_ANOTHER = "name a small checkpoint of this architecture instead, or attach to a training of yours"


class Original:
    """What a stand-in stands for.

    Args:
        config: Its own; open fields are filled in it where the class needs them.
        build: Makes the model of it.
    """

    def __init__(self, config: Any, build: Callable[[Any], torch.nn.Module]) -> None:
        switch_off_dropout_in(config)  # as in the stand-in
        self._name = config.model_type
        self._refusal: BaseException | None = None
        self._classes: frozenset[str] = frozenset()
        try:
            self._classes = module_classes(build_original(config, build))
        except Exception as error:
            self._refusal = error
            with suppress(Exception):  # as deep, but so small that it can be built where there is memory
                self._classes = module_classes(build(shrink(config, VOCABULARY, every_layer=True)))

    def check(self, model: torch.nn.Module) -> None:
        """Refuse a stand-in that lacks a class of module.

        Raises:
            ModelError: It does.
        """
        lacking = sorted(self._classes - module_classes(model))
        if lacking:
            raise ModelError(
                f"The tiny {self._name} lacks {', '.join(lacking)}.",
                why="The original has them, so a verdict about the stand-in would say less than it seems to.",
                fix=_ANOTHER,
            )

    def explain(self, error: ModelError) -> ModelError:
        """Say of a stand-in that cannot be built whether its original can."""
        if self._refusal is None:
            return error
        return ModelError(
            f"{self._name} cannot be built from its own config, nor from that of a tiny one.",
            why=f"{what_happened(self._refusal)} The tiny one: {error.why or error.what}",
            fix=_ANOTHER,
        )


def module_classes(model: torch.nn.Module) -> frozenset[str]:
    """Return the names of the classes that a model is made of; what hands its input on is no part of it."""
    return frozenset(type(each).__name__ for each in model.modules() if type(each) is not torch.nn.Identity)


def build_original(config: Any, build: Callable[[Any], torch.nn.Module]) -> torch.nn.Module:
    """Build a model on the meta device; fill what its config leaves open, in place, where the class needs it.

    Args:
        config: Of the original.
        build: Makes the model of it.

    Raises:
        Exception: Whatever the class raises that no open field explains.
    """
    for _ in range(_MOST_OPEN):
        try:
            return _on_meta(config, build)
        except Exception as error:
            if not any(fill(config, error) for fill in (_fill_rotary, _fill_open, _fill_absent, give_demanded)):
                raise
    return _on_meta(config, build)


def _on_meta(config: Any, build: Callable[[Any], torch.nn.Module]) -> torch.nn.Module:
    """Build a model where it takes no memory; of its experts, which are all alike, few: each may be a module."""
    many = [
        (part, name, value) for part in all_configs(config) for name, value in vars(part).items() if _many(name, value)
    ]
    try:
        for part, name, value in many:
            vars(part)[name] = reduced(name, value, frozenset())
        with torch.device("meta"):
            return build(config)
    finally:
        for part, name, value in many:
            vars(part)[name] = value


def _many(name: str, value: Any) -> bool:
    return name.endswith("experts") and isinstance(value, int) and "per_tok" not in name


def complete_by_forward(build: Callable[[], Any], config: Any) -> Any:
    """Build a model; fill what its config leaves open, in place, where its forward needs it.

    The model that is returned is a fresh one: a forward of few tokens may have changed what it is made of.

    Args:
        build: Makes the model.
        config: That it is made of.
    """
    model = _completed(build, config)
    tokens = torch.ones(1, 4, dtype=torch.long)
    text = {"input_ids": tokens, "attention_mask": tokens, "labels": tokens}
    given = {name: value for name, value in text.items() if name in forward_names(type(model))}
    for _ in range(_MOST_OPEN):
        try:
            with torch.no_grad():
                model(**given)
            return build()
        except Exception as error:  # most models are fed otherwise: only an open field is of interest here
            if not (_fill_open(config, error) or _fill_absent(config, error)):
                return build()
            model = build()
    return model


def _completed(build: Callable[[], Any], config: Any) -> Any:
    """Build a model; fill what its config has not, in place, where the class asks for it."""
    for _ in range(_MOST_OPEN):
        try:
            return build()
        except Exception as error:
            if not _fill_absent(config, error.__cause__ or error):
                raise
    return build()


def _fill_open(config: Any, error: Exception) -> bool:
    """Fill the first field without a value that a line of the traceback names, innermost line first."""
    for line in (str(error), *raising_lines(error)):
        for part in all_configs(config):
            for word in dict.fromkeys(re.findall(r"\w+", line)):
                name = part.attribute_map.get(word, word)
                is_open = vars(part).get(name, 0) is None
                value = (_FRACTION if f'{word}.split("/")' in line else _value(part, name)) if is_open else None
                if isinstance(error, IndexError) and vars(part).get(name) == []:
                    value = _single(name)
                if value is not None:
                    setattr(part, name, value)
                    return True
    return False


def _value(config: Any, name: str) -> Any:
    """Return what a field may hold, by its name and its annotation; None where neither says."""
    annotated = (vars(each).get("__annotations__", {}).get(name) for each in type(config).__mro__)
    kind = str(next((each for each in annotated if each is not None), ""))
    if kind.startswith("dict"):
        return {}
    if "types" in name:
        return _kinds_of_layers(config, name)
    if kind.startswith("list"):
        one = vars(config).get(name.removesuffix("s"))
        return [one] if name.endswith("s") and isinstance(one, int) else []
    if HEAD_WIDTH.fullmatch(name):
        return config.hidden_size // config.num_attention_heads
    named = OPEN.get(name) or next((largest for pattern, largest in SIZES if re.fullmatch(pattern, name)), None)
    return _NUMBER if named is None and kind.startswith("int") else named


def _single(name: str) -> list[int] | None:
    """Return a list of one size, by the name of the field; None where that says no size."""
    named = next((largest for pattern, largest in SIZES if re.fullmatch(pattern, name.removesuffix("s"))), None)
    return None if named is None else [named]


def _kinds_of_layers(config: Any, name: str) -> list[str] | None:
    """Return kinds for all layers in turn: the one that the models compare with, and the first beside it."""
    asked = re.search(rf"""{name}\[\w+\] [!=]= ["'](\w+)["']""", modeling_source(type(config)))
    known = [value for key, value in vars(configuration_utils).items() if re.fullmatch(r"ALLOWED_\w+_LAYER_TYPES", key)]
    if asked is None:
        return None
    kinds = [(asked[1], next(each for each in group if each != asked[1])) for group in known if asked[1] in group]
    return [kinds[0][layer % 2] for layer in range(config.num_hidden_layers)] if kinds else None


def _fill_absent(config: Any, error: BaseException) -> bool:
    """Give a config the field that its class asks it for and does not have, as configs that lie beside weights do."""
    found = re.search(r"'(\w+)' object has no attribute '(\w+)'", str(error))
    owner, name = found.groups() if found is not None else ("", "")
    part = next((each for each in all_configs(config) if type(each).__name__ == owner), None)
    if part is None:
        return False
    value = UNK if TOKEN_ID.fullmatch(name) else _USUAL.get(name) or _value(part, name)
    if value is not None:
        setattr(part, name, value)
    return value is not None


def _fill_rotary(config: Any, error: Exception) -> bool:
    """Give every kind of layer rotary fields of its own, where the class looks for those of a kind and finds none."""
    for part in all_configs(config):
        rope, kinds = getattr(part, "rope_parameters", None), getattr(part, "layer_types", None) or ()
        if isinstance(error, KeyError) and error.args[0] in kinds and rope is not None and error.args[0] not in rope:
            part.rope_parameters = {kind: {**_ROTARY, **rope} for kind in dict.fromkeys(kinds)}
            return True
    return False
