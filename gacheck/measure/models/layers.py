"""Which layers of a config a smaller one keeps, and what the fields that speak of layers say then.

A layer's kind is all that the config says of it: its entry in every field with one for each layer, whether an index
list names it, and on which side of every bound it lies.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

NUM_LAYERS, MAX_LAYERS = 2, 8
MIXED = 4
"""Layers where there are several kinds: what layers of a kind share is shared only where there are two."""

DEPTH = re.compile(
    r"(.*_)?(n|num|num_hidden|encoder|decoder|num_encoder|num_decoder)_layers?|(.*_)?depth|num_blocks|layers"
)
"""Fields that count layers."""

_KINDS = re.compile(r".*(layer|block).*types?")
"""Fields that list the kinds of all layers."""
_PART = re.compile(r"n(um)?_\w+_layers")
_BOUND = re.compile(
    r"first_k_dense_replace|num_(dense|hash)_layers|max_window_layers|(\w+_)?layer_(index_)?(start|end)(_index)?"
)
_INDEXES = re.compile(r"layer|idx|index|indices")


@dataclass(frozen=True)
class Layers:
    """The layers of a config, and those of them that stay.

    Attributes:
        depth: How many there are, 0 where the config has none.
        kept: Those that stay, by their old index.
        parts: The layers that each of some fields counts, where together they are all layers.
    """

    depth: int
    kept: tuple[int, ...] = ()
    parts: dict[str, range] = field(default_factory=dict)

    def all(self) -> Layers:
        """Return these layers, all of them kept."""
        return replace(self, kept=tuple(range(self.depth)))

    @property
    def num_kept(self) -> int:
        """How deep the smaller config is."""
        return max(len(self.kept), NUM_LAYERS)

    def entries(self, name: str, value: Any) -> Sequence[Any] | None:
        """Return a field's entry for every layer, None if it has none; a shorter pattern of names repeats."""
        if self.is_index_list(name, value):
            return [layer in value for layer in range(self.depth)]
        if isinstance(value, dict):
            by_layer = _by_layer(name, value)
            return [str(by_layer.get(layer)) for layer in range(self.depth)] if by_layer else None
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], str) and "type" in name:
            return [value[layer % len(value)] for layer in range(self.depth)]
        if isinstance(value, str) and "pattern" not in name:
            return None
        return value if isinstance(value, (list, tuple, str)) and 0 < len(value) == self.depth else None

    def is_index_list(self, name: str, value: Any) -> bool:
        """Whether a field lists layers by their index, in ascending order."""
        if not (isinstance(value, (list, tuple)) and _INDEXES.search(name)):
            return False
        ints = [item for item in value if isinstance(item, int) and 0 <= item < self.depth]
        return len(ints) == len(value) > 0 and ints == sorted(set(ints))

    def of_kept(self, name: str, value: Any) -> Any:
        """Cut what speaks of every layer to the layers that stay; None where a field does not."""
        if self.is_index_list(name, value):
            return [new for new, old in enumerate(self.kept) if old in value]
        if isinstance(value, dict):
            by_layer = _by_layer(name, value)
            kept = {str(new): by_layer[old] for new, old in enumerate(self.kept) if old in by_layer}
            return kept if by_layer else None
        entries = self.entries(name, value)
        if entries is None:
            return None
        kept_entries = [entries[old] for old in self.kept]
        return "".join(kept_entries) if isinstance(value, str) else kept_entries

    def bound(self, name: str, value: int) -> int | None:
        """Return where a bound between layers lies among those that stay; None for a field that is none."""
        if name in self.parts:
            return sum(layer in self.parts[name] for layer in self.kept)
        if _BOUND.fullmatch(name) and value >= 0 and self.depth:
            return sum(layer < value for layer in self.kept)
        return None


def find_layers(fields: dict[str, Any], named_depth: int | None) -> Layers:
    """Choose layers so that every kind of layer stays, as far as `MAX_LAYERS` allows: [0, 1] where all are alike.

    Args:
        fields: Of the config.
        named_depth: Its `num_hidden_layers`, under whatever name.
    """
    depths = [named_depth, *(value for name, value in fields.items() if DEPTH.fullmatch(name))]
    lists = (
        len(value) for name, value in fields.items() if _KINDS.fullmatch(name) and isinstance(value, (list, tuple))
    )
    depth = next((value for value in depths if isinstance(value, int)), None) or next(lists, 0)
    layers = Layers(depth, parts=_parts(fields, depth))
    traits = [entries for name, value in fields.items() if (entries := layers.entries(name, value)) is not None]
    bounds = [value for name, value in fields.items() if isinstance(value, int) and _BOUND.fullmatch(name)]
    bounds += [part.stop for part in layers.parts.values()]
    traits += [[layer < bound for layer in range(depth)] for bound in bounds]
    return Layers(depth, _kept(traits, depth), layers.parts)


def is_tapped(name: str, value: Any) -> bool:
    """Whether a field lists several layers, or stages of them, whose outputs are used: then all of them stay."""
    return name.endswith("out_indices") and isinstance(value, (list, tuple)) and len(value) > 1


def clip_indexes(name: str, value: Sequence[Any] | int) -> Any:
    """Clip the indexes of layers that another config has, which keep their order; None where a field lists none."""
    if not re.search("layers?$|layer_ind|layer_id", name) or re.search("num|proj", name):
        return None
    if isinstance(value, int):
        return min(value, NUM_LAYERS - 1) if value >= 0 else None
    if not all(isinstance(each, int) and not isinstance(each, bool) for each in value):
        return None
    order = sorted({each for each in value if each >= 0})
    clipped = [min(order.index(each), NUM_LAYERS - 1) if each >= 0 else max(each, -NUM_LAYERS) for each in value]
    return clipped if value else None


def _parts(fields: dict[str, Any], depth: int) -> dict[str, range]:
    sizes = {name: value for name, value in fields.items() if _PART.fullmatch(name) and isinstance(value, int)}
    sizes.pop("num_hidden_layers", None)
    ends = list(accumulate(sizes.values(), initial=0))
    parts = {name: range(*ends_of_it) for name, ends_of_it in zip(sizes, pairwise(ends), strict=True)}
    return parts if len(parts) > 1 and ends[-1] == depth else {}


def _kept(traits: Sequence[Sequence[Any]], depth: int) -> tuple[int, ...]:
    """Return the first layer of every kind; before all combinations, every value of every trait."""
    kinds: dict[tuple[str, ...], list[int]] = {}
    for layer in range(depth):
        kinds.setdefault(tuple(str(entries[layer]) for entries in traits), []).append(layer)
    seen: set[tuple[int, str]] = set()
    first: list[int] = []
    rest: list[int] = []
    for kind, of_kind in kinds.items():
        (rest if seen.issuperset(enumerate(kind)) else first).append(of_kind[0])
        seen.update(enumerate(kind))
    kept = [*first, *rest][:MAX_LAYERS]
    seconds = [of_kind[1] for of_kind in kinds.values() if len(of_kind) > 1]
    wanted = NUM_LAYERS if len(kinds) < 2 else MIXED
    return tuple(sorted(kept + seconds[: max(0, wanted - len(kept))]))


def _by_layer(name: str, value: dict[Any, Any]) -> dict[int, Any]:
    """Return what a dict says of layers, by their index; {} where it does not."""
    is_by_layer = "layer" in name and all(str(key).isdigit() for key in value)
    return {int(key): each for key, each in value.items()} if is_by_layer else {}
