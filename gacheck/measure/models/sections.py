"""Rotary sections: how the frequencies of a head are divided among the axes of a position, such as time and height."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from gacheck.measure.models.parts import modeling_source
from gacheck.measure.models.sizes import HEAD_DIM

_DEFAULT = re.compile(r"""["'](\w+_section)["'](?:, \[([\d, ]+)\])?""")


def divide(total: int, shares: Sequence[int]) -> list[int]:
    """Divide a number in proportion to shares, by largest remainder: equal shares stay equal where they can."""
    exact = [total * share / sum(shares) for share in shares]
    parts = [math.floor(each) for each in exact]
    by_remainder = sorted(range(len(parts)), key=lambda place: parts[place] - exact[place])
    for place in by_remainder[: total - sum(parts)]:
        parts[place] += 1
    return parts


def sectioned(config_class: type, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the rotary field with sections for a head of `HEAD_DIM`; {} where the class has none.

    A class that divides them may leave the sections out of its config, and would then fall back on those of full size.
    """
    name = "rope_parameters" if "rope_parameters" in fields else "rope_scaling"
    if name not in fields:
        return {}
    rope = fields[name] or {"rope_type": "default"}
    found = _sections_of(config_class) if "vocab_size" in fields else {}
    share = fields.get("partial_rotary_factor") or 1.0
    kinds = {kind: value for kind, value in rope.items() if isinstance(value, dict)}
    if kinds:  # one for each kind of layer
        small = {**rope, **{kind: _divided(value, found, share) for kind, value in kinds.items()}}
    else:
        small = _divided(rope, found, share)
    return {} if small == rope else {name: small}


def _divided(rope: dict[str, Any], found: dict[str, list[int]], share: float) -> dict[str, Any]:
    total = int(HEAD_DIM * (rope.get("partial_rotary_factor") or share)) // 2
    own = {
        name: value for name, value in rope.items() if name.endswith("_section") and isinstance(value, (list, tuple))
    }
    return {**rope, **{name: divide(total, shares) for name, shares in (own or found).items()}}


def _sections_of(config_class: type) -> dict[str, list[int]]:
    """Return the sections that the models of a config fall back on, by name; equal ones where they ask without."""
    sections: dict[str, list[int]] = {}
    for name, default in _DEFAULT.findall(modeling_source(config_class)):
        if default or name not in sections:
            sections[name] = [int(each) for each in default.split(",")] if default else [1, 1, 1]
    return sections
