"""Images and videos of a row, and what is to be found in them."""

from __future__ import annotations

import torch

from gacheck.measure.heads.maker import Maker, Row

FRAMES_OF_A_VIDEO = ("num_frames", "frames_per_clip")
"""Fields that count them: what has one is given a video where it asks for pixels."""
MOST_OBJECTS = 4
"""In an image."""


def num_labels(maker: Maker) -> int:
    """Return how many classes there are."""
    return int(getattr(maker.config, "num_labels", None) or 2)


def image_shape(maker: Maker) -> tuple[int, int, int]:
    """Return channels, height and width of an image."""
    size = maker.field("image_size", "input_size") or 32
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    channels = maker.field("num_channels", "in_channels", "in_chans") or 3
    return int(channels), int(height), int(width)


def whole_image(maker: Maker, row: Row) -> torch.Tensor:
    """An image."""
    return maker.normal(*image_shape(maker))


def image_or_video(maker: Maker, row: Row) -> torch.Tensor:
    """An image; a video where the config counts frames."""
    return whole_image(maker, row) if maker.field(*FRAMES_OF_A_VIDEO) is None else video(maker, row)


def video(maker: Maker, row: Row) -> torch.Tensor:
    """A video."""
    return maker.normal(maker.count(*FRAMES_OF_A_VIDEO, otherwise=2), *image_shape(maker))


def one_of_several_images(maker: Maker, row: Row) -> torch.Tensor:
    """Two images that belong together."""
    return maker.normal(2, *image_shape(maker))


def half_image(maker: Maker, row: Row) -> torch.Tensor:
    """The upper or the lower half of what the config says is one image."""
    channels, height, width = image_shape(maker)
    return maker.normal(channels, height // 2, width)


def flattened_patches(maker: Maker, row: Row) -> torch.Tensor:
    """A square of patches, as many as the config says, each a row of numbers."""
    number, patch = maker.count("num_patches", otherwise=16), maker.count("patch_size", otherwise=1)
    return maker.normal(int(number**0.5) ** 2, image_shape(maker)[0] * patch**2)


def placed_patches(maker: Maker, row: Row) -> torch.Tensor:
    """A square of patches, each its row, its column and a row of numbers."""
    side = int(maker.count("num_patches", otherwise=16) ** 0.5)
    places = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    width = maker.count(
        "patch_embed_hidden_size", otherwise=image_shape(maker)[0] * maker.count("patch_size", otherwise=1) ** 2
    )
    return torch.cat([places, maker.normal(len(places), width)], 1)


def _shown(row: Row) -> torch.Tensor:
    pixels: torch.Tensor = row["pixel_values"] if "pixel_values" in row else row["pixel_values_videos"]
    return pixels


def map_of_classes(maker: Maker, row: Row) -> Row:
    """A class for every pixel."""
    return {"labels": torch.randint(0, num_labels(maker), _shown(row).shape[-2:], generator=maker.generator)}


def map_of_numbers(maker: Maker, row: Row) -> Row:
    """A number for every pixel."""
    return {"labels": maker.normal(*_shown(row).shape[-2:]).abs()}


def painted_image(maker: Maker, row: Row) -> Row:
    """An image that shows of another what a prompt shows of its own: the lower half of one whose patches are hidden."""
    channels, height, width = row["prompt_masks"].shape
    patch = maker.count("patch_size", otherwise=1)
    number = (2 * height // patch) * (width // patch)
    hidden = torch.arange(number) >= number // 2
    return {"labels": maker.normal(channels, height, width), "bool_masked_pos": hidden}


def boxes(maker: Maker, row: Row) -> Row:
    """Some objects, each a class and a box: centre, width and height as shares of the image."""
    number = maker.integer(1, MOST_OBJECTS + 1)
    classes = torch.randint(0, num_labels(maker), (number,), generator=maker.generator)
    sizes = 0.2 + 0.2 * torch.rand(number, 4, generator=maker.generator)
    return {"labels": {"class_labels": classes, "boxes": sizes}}


def masked_boxes(maker: Maker, row: Row) -> Row:
    """Some objects, each a class, a box and the pixels that it covers."""
    labels = boxes(maker, row)["labels"]
    number = len(labels["class_labels"])
    covered = torch.randint(0, 2, (number, *_shown(row).shape[-2:]), generator=maker.generator)
    return {"labels": {**labels, "masks": covered.float()}}


def masks(maker: Maker, row: Row) -> Row:
    """Some objects, each a class and the pixels that it covers."""
    number = maker.integer(1, MOST_OBJECTS + 1)
    classes = torch.randint(0, num_labels(maker), (number,), generator=maker.generator)
    pixels = _shown(row)
    covered = torch.randint(0, 2, (number, *pixels.shape[-2:]), generator=maker.generator).float()
    return {"class_labels": classes, "mask_labels": covered}


def masked_patches(maker: Maker, row: Row) -> Row:
    """Half of the patches of an image or a video, to be found again."""
    *frames, _, height, width = row["pixel_values"].shape
    patch = int(maker.field("patch_size") or 1)
    number = (
        (height // patch) * (width // patch) * (frames[0] // int(maker.field("tubelet_size") or 1) if frames else 1)
    )
    order = torch.randperm(number, generator=maker.generator)
    return {"bool_masked_pos": order < number // 2}


def named_patches(maker: Maker, row: Row) -> Row:
    """Half of the patches of an image, each of them to be named."""
    masked = masked_patches(maker, row)["bool_masked_pos"]
    names = torch.randint(maker.count("vocab_size", otherwise=2), masked.shape, generator=maker.generator)
    return {"bool_masked_pos": masked, "labels": names[masked]}
