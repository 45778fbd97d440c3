"""Finds how a model for images and text is given an image: the layout of its pixels, and how many tokens it takes.

Nothing here knows a model by name: each layout is tried on the model's own `get_image_features`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch

from gacheck.measure.heads.maker import Image, Maker, Row
from gacheck.measure.heads.pixels import image_shape
from gacheck.measure.models.inputs import forward_names

GRID = "image_grid_thw"
"""Where patches are given one by one: of each image, how many there are in time, height and width."""


def _whole(maker: Maker) -> Row:
    """An image."""
    return {"pixel_values": maker.normal(*image_shape(maker))}


def _sized(maker: Maker) -> Row:
    """An image that is told its size."""
    return {**_whole(maker), "image_sizes": torch.tensor(image_shape(maker)[1:])}


def _listed(maker: Maker) -> Row:
    """An image as one of several."""
    return {"pixel_values": maker.normal(1, *image_shape(maker))}


def _tiled(maker: Maker) -> Row:
    """An image of the first size that the config allows: the whole of it made smaller, and its tiles."""
    channels, height, width = image_shape(maker)
    size = maker.field("image_grid_pinpoints")[0]
    tiles = (size[0] // height) * (size[1] // width)
    return {"pixel_values": maker.normal(1 + tiles, channels, height, width), "image_sizes": torch.tensor(size)}


def _patched(maker: Maker) -> Row:
    """An image as a list of its patches, each flattened."""
    merged = int(maker.field("spatial_merge_size") or 1)
    side, patch = 2 * merged, int(maker.field("patch_size") or 1)
    channels = image_shape(maker)[0]
    numbers = channels * int(maker.field("temporal_patch_size") or 1) * patch**2
    return {"pixel_values": maker.normal(side**2, numbers), GRID: torch.tensor([[1, side, side]])}


def _unflattened(maker: Maker) -> Row:
    """An image as a list of its patches, each an image."""
    row, (channels, *_) = _patched(maker), image_shape(maker)
    patch = int(maker.field("patch_size") or 1)
    return {**row, "pixel_values": row["pixel_values"].reshape(-1, channels, patch, patch)}


LAYOUTS: tuple[Callable[[Maker], Row], ...] = (_whole, _sized, _patched, _unflattened, _listed, _tiled)


def find_image(model: Any, maker: Maker) -> Image | None:
    """Find the first layout of which a model makes features; None where it makes none of any, or names no token."""
    token, features = maker.field("image_token_id", "image_token_index"), _method(model, "get_image_features")
    if token is None or features is None:
        return None
    names = forward_names(type(model))
    for layout in LAYOUTS:
        with suppress(Exception), torch.no_grad():  # whatever a model makes of what is none of its images
            row = {name: value for name, value in layout(maker).items() if name in names}
            words = model.get_input_embeddings().weight
            found = features(**_arguments(features, _batch_of_one(row, words.device), model.config))
            count, rest = divmod(sum(each.numel() for each in _tensors(found)), words.shape[-1])
            if count and not rest:
                start = maker.field("vision_start_token_id")
                return Image(layout, token, count, None if start == token else start, frozenset(row))
    return None


def _method(model: Any, name: str) -> Any:
    """Return a method of the model, or of what it wraps."""
    base = getattr(model, getattr(model, "base_model_prefix", ""), model)
    return getattr(model, name, None) or getattr(base, name, None)


def _batch_of_one(row: Row, device: torch.device) -> Row:
    return {name: (value if is_joined(name, row) else value[None]).to(device) for name, value in row.items()}


def is_joined(name: str, row: Mapping[str, Any]) -> bool:
    """Whether the values of all rows stand one after another in a batch.

    Patches do, with what tells them apart or names them, and the documents that were found for each row.
    """
    is_named = "bool_masked_pos" in row and row.get("labels", row["bool_masked_pos"]).dim() == 1
    patches = (GRID in row and name in (GRID, "pixel_values")) or (name == "labels" and is_named)
    return patches or (name.startswith("context_") and "doc_scores" in row)


def _arguments(method: Any, given: Row, config: Any) -> dict[str, Any]:
    """Return what a method takes of this; what it demands besides is a field of the config."""
    parameters = inspect.signature(method).parameters.values()
    named = {p.name for p in parameters}
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    taken = {name: value for name, value in given.items() if name in named or takes_all}
    demanded = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    return taken | {name: getattr(config, name) for name in demanded if name not in taken and hasattr(config, name)}


def _tensors(found: Any) -> Iterator[torch.Tensor]:
    """Walk through the features of all images: newer releases return them as what was pooled."""
    found = getattr(found, "pooler_output", found)
    if isinstance(found, torch.Tensor):
        yield found
    elif isinstance(found, (list, tuple)):
        for each in found:
            yield from _tensors(each)
