"""Any config → the same architecture, tiny.

Nothing here knows a model by name: a config's fields are recognized by what their names and their values say.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any

from transformers import PretrainedConfig

from gacheck.measure.models.layers import DEPTH, Layers, clip_indexes, find_layers, is_tapped
from gacheck.measure.models.parts import all_configs, sub_configs
from gacheck.measure.models.sections import divide, sectioned
from gacheck.measure.models.sizes import (
    CODES,
    DERIVED,
    FRACTIONS,
    HEAD_DIM,
    HEAD_WIDTH,
    HEADS,
    IMAGE,
    IMAGE_SIZE,
    LEAST,
    MODALITY,
    OPEN,
    WIDTH,
    reduced,
)

_FIRST_WIDTH = re.compile(r".*_hidden_size|embed_dim")

PAD, EOS, BOS, UNK = range(4)

TOKEN_ID = re.compile(r".*_token_(id|index)|(pad|eos|bos|unk|mask)_(index|id)")
OPTIONAL = re.compile(r"use_(cache|\w+_kernels)")
"""What training has no use for, and some layers or machines refuse."""
_EQUAL = re.compile(r"`([\w.]+)` \(\d+\) must (?:be )?equal (?:to )?.*?\((\d+)\)")
# How the names of special tokens begin; those of other modalities become <unk>, which byte-level text never has.
ROLES = {
    "audio_bos": BOS,
    "pad": PAD,
    "eos": EOS,
    "eod": EOS,
    "sep": EOS,
    "forced_eos": EOS,
    "bos": BOS,
    "cls": BOS,
    "decoder": BOS,
}


def shrink(config: PretrainedConfig, vocab_size: int, *, every_layer: bool = False) -> PretrainedConfig:
    """Reduce a config to the same architecture, tiny. The given config is left as it is.

    Args:
        config: Any config, with its sub-configs.
        vocab_size: Number of tokens.
        every_layer: Keep them all.

    Returns:
        A new config, built by its own class so that derived fields are computed afresh.
    """
    widths = frozenset(width for each in all_configs(config) if (width := _width(each)))
    return _shrink(config, _Whole(vocab_size, widths, every_layer))


@dataclass(frozen=True)
class _Whole:
    """What all configs of a model have in common.

    Attributes:
        vocab_size: Number of tokens.
        widths: Hidden sizes: what equals one stays equal to it.
        every_layer: Whether all layers stay.
    """

    vocab_size: int
    widths: frozenset[int]
    every_layer: bool


def _shrink(config: PretrainedConfig, whole: _Whole) -> PretrainedConfig:
    fields = _fields(config)
    small = _shrink_fields(fields, _scale(config, fields, whole))
    small |= _offsets(fields) | _sparse_blocks(fields) | _stages(fields) | sectioned(type(config), small)
    small |= _small_sub_configs(config, whole)
    derived = _derived(type(config))
    given = {name: value for name, value in _arguments(type(config), fields, small) if name not in derived}
    tiny = _valid(config, fields, given)
    if "vocab_size" in given:
        tiny.pad_token_id = PAD  # also where the original has no padding: ours does
    for name in ("auto_map", "_name_or_path"):  # where code of its own lies
        if hasattr(config, "auto_map") and hasattr(config, name):
            setattr(tiny, name, getattr(config, name))
    return tiny


def _valid(config: PretrainedConfig, fields: dict[str, Any], given: dict[str, Any]) -> PretrainedConfig:
    """Make a config; where its class refuses it and names fields of it, these stay as they were."""
    try:
        return type(config)(**given)
    except Exception as error:
        if _made_equal(given, error):
            return type(config)(**given)
        named = {name: fields[name] for name in given if re.search(rf"\b{name}\b", str(error))}
        if not named or any(isinstance(value, (dict, PretrainedConfig)) for value in named.values()):
            raise
        return type(config)(**{**given, **named})


def _made_equal(given: dict[str, Any], error: Exception) -> bool:
    """Set the field of which a class says what it has to be equal to, in place: `part.size` (128) must equal … (16)."""
    found = _EQUAL.search(str(error))
    if found is None:
        return False
    *within, name = found[1].split(".")
    for part in within:
        given = given.get(part) or {}
    is_there = name in given
    if is_there:
        given[name] = int(found[2])
    return is_there


def _fields(config: PretrainedConfig) -> dict[str, Any]:
    """Return a config's fields as it has them: some are written to JSON in another form."""
    written = config.to_dict()
    held = vars(config)
    return {name: value if isinstance(value, dict) else held.get(name, value) for name, value in written.items()}


def _width(config: PretrainedConfig) -> int | None:
    value = vars(config).get(config.attribute_map.get("hidden_size", "hidden_size"))
    return value if isinstance(value, int) and value > WIDTH else None


@dataclass(frozen=True)
class _Scale:
    """What one config's fields are reduced to.

    Attributes:
        whole: Of the whole model.
        layers: Those that stay.
        head_ratio: New head width / old head width.
        num_heads: Number of heads before. Where keys have as many, they keep as many: some attention needs it.
        whole_heads: Widths of heads of two parts, one of them rotary.
    """

    whole: _Whole
    layers: Layers
    head_ratio: Fraction
    num_heads: int
    whole_heads: frozenset[int]


def _scale(config: PretrainedConfig, fields: dict[str, Any], whole: _Whole) -> _Scale:
    """Read what the reduction depends on, under the name that the config's family gives it."""

    def field(name: str) -> int | None:
        value = fields.get(config.attribute_map.get(name, name))
        return value if isinstance(value, int) else None

    num_heads = field("num_attention_heads") or 1
    head_dim = field("head_dim") or (field("hidden_size") or 0) // num_heads or HEAD_DIM
    layers = find_layers(fields, field("num_hidden_layers"))
    layers = layers.all() if whole.every_layer or any(map(is_tapped, fields, fields.values())) else layers
    whole_heads = {
        sum(parts) for parts in product(_values(fields, "qk_nope_head_dim"), _values(fields, "qk_rope_head_dim"))
    }
    return _Scale(whole, layers, Fraction(HEAD_DIM, head_dim), num_heads, frozenset(whole_heads))


def _values(fields: dict[str, Any], name: str) -> set[int]:
    """Return the sizes that a field has, here and in what speaks of layers one by one."""
    inner = [each for value in fields.values() if isinstance(value, dict) for each in _values(value, name)]
    return {each for each in [fields.get(name), *inner] if isinstance(each, int) and each}


def _shrink_fields(fields: dict[str, Any], scale: _Scale) -> dict[str, Any]:
    return {name: _shrink_value(str(name), value, scale) for name, value in fields.items()}


def _shrink_value(name: str, value: Any, scale: _Scale) -> Any:
    """Reduce one field, by its name and the shape of its value; anything unrecognized stays."""
    if value is None:
        return UNK if TOKEN_ID.fullmatch(name) and MODALITY.fullmatch(name) else OPEN.get(name)
    if value is True and OPTIONAL.fullmatch(name):
        return False
    if TOKEN_ID.fullmatch(name):
        return next((token_id for start, token_id in ROLES.items() if name.startswith(start)), UNK)
    if "drop" in name and isinstance(value, float):
        return 0.0
    if isinstance(value, float):
        return min([value, *(largest for pattern, largest in FRACTIONS if re.fullmatch(pattern, name))])
    if isinstance(value, dict):
        kept = scale.layers.of_kept(name, value)
        num_heads = value.get("num_attention_heads") or scale.num_heads
        return _shrink_fields(value if kept is None else kept, replace(scale, num_heads=num_heads))
    if isinstance(value, int) and not isinstance(value, bool):
        return _shrink_size(name, value, scale)
    if isinstance(value, (list, tuple, str)):
        return _shrink_sequence(name, value, scale)
    return value


def _shrink_size(name: str, value: int, scale: _Scale) -> int:
    if name in LEAST:
        return max(value, LEAST[name])
    if name == "vocab_size":
        return scale.whole.vocab_size
    if "vocab" in name:
        return min(value, scale.whole.vocab_size)
    if value in scale.whole_heads and name in ("head_dim", "qk_head_dim"):
        return 2 * HEAD_DIM
    if HEAD_WIDTH.fullmatch(name):
        return HEAD_DIM if value else 0
    if name.endswith("num_key_value_heads") and value == scale.num_heads:
        return min(value, HEADS)
    bound = scale.layers.bound(name, value)
    if bound is not None:
        return bound
    if DEPTH.fullmatch(name):
        return min(value, scale.layers.num_kept)
    clipped = clip_indexes(name, value)
    return reduced(name, value, scale.whole.widths) if clipped is None else int(clipped)


def _shrink_sequence(name: str, value: Sequence[Any], scale: _Scale) -> Any:
    """Cut a field that says something of every layer, or of every rotary frequency, to what is left of them."""
    if name in ("short_factor", "long_factor"):
        return list(value[: int(len(value) * scale.head_ratio)])
    if IMAGE.fullmatch(name):
        return [min(side, IMAGE_SIZE) if isinstance(side, int) else side for side in value]
    if name == "image_grid_pinpoints":  # sizes of images: multiples of the size of a tile
        tile = math.gcd(*(side for size in value for side in size))
        return [[side // tile * IMAGE_SIZE for side in size] for size in value]
    if name == "attention_types":  # [[[kind, kind, …], times], …]
        return [[kinds, max(1, len(scale.layers.kept) // len(kinds))] for kinds, _ in value]
    kept = scale.layers.of_kept(name, value)
    if kept is not None:
        is_final = isinstance(kept, str) or scale.layers.is_index_list(name, value)
        return kept if is_final else [_shrink_value(name, each, scale) for each in kept]
    if isinstance(value, str):
        return value
    clipped = clip_indexes(name, value)
    if clipped is not None:
        return clipped
    if not all(isinstance(each, int) and not isinstance(each, bool) for each in value):
        return value
    if len(value) > 1 and sum(value) in scale.whole.widths:
        return divide(WIDTH, value)  # its parts
    return [reduced(name, each, frozenset()) for each in value]


def _offsets(fields: dict[str, Any]) -> dict[str, int]:
    """Put the codes of images and sounds one range after another, as they were among the tokens before."""
    old = {name: value for name, value in fields.items() if name.endswith("_token_offset") and isinstance(value, int)}
    return {name: CODES * place for place, name in enumerate(sorted(old, key=lambda name: old[name]), start=1)}


def _sparse_blocks(fields: dict[str, Any]) -> dict[str, int]:
    """Make blocks of attention so small that short rows have several: a row of few is attended to as a whole."""
    return dict.fromkeys(("block_size", "num_random_blocks"), 1) if "num_random_blocks" in fields else {}


def _stages(fields: dict[str, Any]) -> dict[str, int]:
    """Make the first stage so narrow that the last is as wide as all else, where each is twice as wide."""
    stages = next((len(fields[name]) for name in ("depths", "downsampling_ratios") if fields.get(name)), 0)
    last = {fields.get("hidden_size"), *(fields.get("hidden_sizes") or ())[-1:]}
    return {
        name: max(1, WIDTH >> times)
        for name, value in fields.items()
        for times in (stages - 1, stages)
        if stages > 1 and _FIRST_WIDTH.fullmatch(name) and isinstance(value, int) and value << times in last
    }


def _small_sub_configs(config: PretrainedConfig, whole: _Whole) -> dict[str, Any]:
    """The config's own sub-configs, shrunk, as the dicts that every config class reads from its JSON file."""
    small = {name: _shrink(value, whole).to_diff_dict() for name, value in sub_configs(config).items()}
    return {name: {key: value[key] for key in value if key != "transformers_version"} for name, value in small.items()}


def _derived(cls: type[PretrainedConfig]) -> set[str]:
    """Return the widths that a class derives from others where they are left open: they are right only if it does."""
    try:
        held = vars(cls())
    except Exception:  # one that is not whole by default
        return set()
    defaults = {name: each.default for name, each in inspect.signature(cls).parameters.items()}
    return {name for name in defaults if DERIVED.fullmatch(name) and defaults[name] is None and held.get(name)}


def _arguments(cls: type[PretrainedConfig], fields: dict[str, Any], small: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the class is given: the fields that it names itself, and those of every config that are not as usual.

    Any other field is derived, and would arrive stale.
    """
    own: set[str] = set()
    for base in cls.__mro__[: cls.__mro__.index(PretrainedConfig)]:
        own |= {*inspect.signature(base).parameters, *vars(base).get("__annotations__", {})}
    aliases = {target: alias for alias, target in cls.attribute_map.items() if alias in own}
    usual = PretrainedConfig().to_dict()
    for name, value in small.items():
        if name in own or name in aliases:
            yield (name if name in own else aliases[name]), value
        elif name.startswith("_") or name in ("transformers_version", "model_type"):
            continue  # of this one object, such as which attention was chosen for it
        elif fields[name] != usual.get(name, fields[name]):
            yield name, value
        elif isinstance(getattr(PretrainedConfig, name, None), property) or is_tapped(name, value):
            yield name, value  # held in another form
