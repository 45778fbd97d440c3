"""Makes the inputs of a head: what its forward asks for by name, of the shape that its config says.

Nothing here knows a model by name. A forward is given what a row of its kind cannot do without; what it then demands
besides, and names in its error, it is given too. Where a name may mean several shapes, they are tried in order.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from gacheck.measure.heads import series, sounds
from gacheck.measure.heads.codes import codes_of_steps, words_and_codes
from gacheck.measure.heads.maker import CHOICES, Form, Maker, Row
from gacheck.measure.heads.pixels import (
    flattened_patches,
    half_image,
    image_or_video,
    num_labels,
    one_of_several_images,
    placed_patches,
    video,
    whole_image,
)

REGIONS = 4
"""Of an image that somebody else has looked at already."""
ENTITIES, LONGEST_MENTION = 2, 3
"""In a text, and the tokens of each."""
LENGTH_OF_A_DOCUMENT = 16
QUESTIONS = 2
"""Of one text."""


def _text(maker: Maker, row: Row) -> torch.Tensor:
    length = maker.length()
    if maker.task == "multiple-choice":
        return maker.tokens(CHOICES, length)
    text = maker.tokens(length)
    if maker.image is None:
        return text
    return torch.cat([text[:1], maker.image.text, text[1:]])


def _phrases(maker: Maker, row: Row) -> torch.Tensor:
    """A text that names every class, parted by what pads."""
    pad = int(getattr(maker.text_config, "pad_token_id", None) or 0)
    named = maker.tokens(num_labels(maker), 2)
    return torch.cat([torch.tensor([pad]), *(torch.tensor([*name, pad]) for name in named)])


def _other_text(maker: Maker, row: Row) -> torch.Tensor:
    return maker.tokens(*row["input_ids"].shape)


def _embeddings(maker: Maker, row: Row) -> torch.Tensor:
    """Numbers for each token of a text, for what stands behind another model's embeddings."""
    return maker.normal(maker.length(), maker.count("hidden_size", otherwise=64))


def _boxes(maker: Maker, row: Row) -> torch.Tensor:
    corners = torch.randint(0, 100, (*row["input_ids"].shape, 2), generator=maker.generator)
    return torch.cat([corners, corners + 10], -1)


def _is_of_an_image(maker: Maker, row: Row) -> torch.Tensor:
    return of_images(maker, row["input_ids"]).long()


def of_images(maker: Maker, tokens: torch.Tensor) -> torch.Tensor:
    """Tell which tokens stand for a part of an image."""
    return tokens.eq(-1 if maker.image is None else maker.image.token)


def _like(name: str, value: int) -> Form:
    return lambda maker, row: torch.full_like(row[name], value)


def _is_there(maker: Maker, row: Row) -> torch.Tensor:
    """Ones: for every token, or for every step of a sound or a series."""
    if "input_ids" in row:
        has_codes = row["input_ids"].dim() > 1 and maker.task != "multiple-choice"
        return torch.ones_like(row["input_ids"][..., 0] if has_codes else row["input_ids"])
    if "input_values" in row:
        return torch.ones(row["input_values"].shape[-1], dtype=torch.long)
    return torch.ones(len(next(iter(row.values()))), dtype=torch.long)


def _is_heard(maker: Maker, row: Row) -> torch.Tensor:
    """Ones for every step of a sound, also beside a text."""
    return _is_there(maker, {name: value for name, value in row.items() if name != "input_ids"} or row)


def _of_the_first(maker: Maker, row: Row) -> torch.Tensor:
    """One for the first token, zero for all others: what looks everywhere, and what only nearby."""
    marked = torch.zeros_like(row["input_ids"])
    marked[..., 0] = 1
    return marked


def _each_image(maker: Maker, row: Row) -> torch.Tensor:
    """One for every token and image: each sees all."""
    return torch.ones(len(row["input_ids"]), len(row["pixel_values"]), dtype=torch.long)


def _first_of_an_image(maker: Maker, row: Row) -> torch.Tensor:
    """One for the places that an image takes, after the first token."""
    marked = torch.zeros_like(row["input_ids"])
    marked[..., 1 : 1 + maker.count("latent_query_num", otherwise=1)] = 1
    return marked


def _regions(*fields: str, otherwise: int) -> Form:
    """Numbers that say what is seen in each region, as many as one of these fields says."""

    def make(maker: Maker, row: Row) -> torch.Tensor:
        return maker.normal(*row["input_ids"].shape[:-1], REGIONS, maker.count(*fields, otherwise=otherwise))

    return make


def _per_region(value: int) -> Form:
    return lambda maker, row: torch.full((*row["input_ids"].shape[:-1], REGIONS), value)


def _places(number: int) -> Form:
    """Some tokens of the text, by where they stand."""
    return lambda maker, row: torch.randint(1, row["input_ids"].shape[-1], (number,), generator=maker.generator)


def _mentions(maker: Maker, row: Row) -> torch.Tensor:
    """Of each entity the places of its tokens."""
    first = torch.randint(row["input_ids"].shape[-1] - LONGEST_MENTION, (ENTITIES, 1), generator=maker.generator)
    return first + torch.arange(LONGEST_MENTION)


def _entities(maker: Maker, row: Row) -> torch.Tensor:
    most = maker.count("entity_vocab_size", otherwise=2)
    return torch.randint(1, most, (ENTITIES,), generator=maker.generator)


def _instruction(maker: Maker, row: Row) -> torch.Tensor:
    return maker.tokens(maker.count("task_seq_len", otherwise=8))


def _num_documents(maker: Maker) -> int:
    return maker.count("n_docs", otherwise=2)


def _documents(maker: Maker, row: Row) -> torch.Tensor:
    """Texts that were found for a question, each with it, and all of one length: those of all rows are joined."""
    return maker.tokens(_num_documents(maker), LENGTH_OF_A_DOCUMENT)


def _zero(*shape: int) -> Form:
    return lambda maker, row: torch.zeros(shape, dtype=torch.long)


MAKERS: Mapping[str, tuple[Form, ...]] = {
    "input_ids": (_text, codes_of_steps, words_and_codes, _phrases),
    "inputs_embeds": (_embeddings,),
    "token_type_ids": (_is_of_an_image,),
    "mm_token_type_ids": (_is_of_an_image,),
    "pixel_values": (image_or_video, one_of_several_images, flattened_patches, half_image),
    "prompt_pixel_values": (half_image,),
    "prompt_masks": (half_image,),
    "flattened_patches": (placed_patches,),
    "image_attention_mask": (_each_image,),
    "image_embeds_position_mask": (_first_of_an_image,),
    "qformer_input_ids": (_other_text,),
    "pixel_values_videos": (video,),
    "input_features": sounds.SPECTROGRAMS,
    "input_values": sounds.WAVES,
    "inputs": (_text, whole_image, *sounds.WAVES[:1]),
    "attention_mask": (_is_there,),
    "state": (lambda maker, row: maker.normal(maker.count("max_state_dim", "state_dim", otherwise=4)),),
    "past_values": series.PASTS,
    "past_time_features": (series.past_times,),
    "past_observed_mask": (_like("past_values", 1),),
    "bbox": (_boxes,),
    "bbox_first_token_mask": (lambda maker, row: torch.ones_like(row["input_ids"], dtype=torch.bool),),
    "conditional_pixel_values": (whole_image,),
    "pixel_attention_mask": (lambda maker, row: torch.ones(len(row["pixel_values"]), dtype=torch.long),),
    "spatial_shapes": (lambda maker, row: torch.tensor([int(len(row["pixel_values"]) ** 0.5)] * 2),),
    "padding_mask": (_is_heard,),
    "global_attention_mask": (_of_the_first,),
    "is_longer": (lambda maker, row: torch.tensor([False]),),
    "langs": (_like("input_ids", 0),),
    "lang_ids": (_zero(),),
    "visual_feats": (_regions("visual_feat_dim", otherwise=16),),
    "visual_pos": (_regions("visual_pos_dim", otherwise=4),),
    "visual_embeds": (_regions("visual_embedding_dim", otherwise=16),),
    "visual_attention_mask": (_per_region(1),),
    "visual_token_type_ids": (_per_region(1),),
    "region_to_phrase_position": (_places(REGIONS),),
    "entity_ids": (_entities,),
    "entity_attention_mask": (_like("entity_ids", 1),),
    "entity_position_ids": (_mentions,),
    "entity_start_positions": (lambda maker, row: row["entity_position_ids"][:, 0],),
    "entity_end_positions": (lambda maker, row: row["entity_position_ids"][:, -1],),
    "question_positions": (_places(QUESTIONS),),
    "task_inputs": (_instruction,),
    "input_ids_masked": (_other_text,),
    "speaker_embeddings": (lambda maker, row: maker.normal(maker.count("speaker_embedding_dim", otherwise=16)),),
    "context_input_ids": (_documents,),
    "context_attention_mask": (_like("context_input_ids", 1),),
    "doc_scores": (lambda maker, row: maker.normal(_num_documents(maker)),),
    "decoder_input_ids": (lambda maker, row: maker.tokens(maker.length()),),
}
"""How an argument of a forward is made, in the order in which they are."""

NEVER_GUESSED = frozenset({"attention_mask", "decoder_input_ids"})
"""Given only where an error names them: they change what is computed, or a row's labels make them."""

IN_PLACE_OF_OTHERS = frozenset({"inputs_embeds"})
"""Given only where an error asks for them instead of what was given."""
