"""What the sizes in a config are reduced to: they are recognized by what their names say.

The values of the table fit together: every kind of head is `HEAD_DIM` wide, and heads × head width = width.
"""

from __future__ import annotations

import re

WIDTH, HEADS, HEAD_DIM = 64, 4, 16
IMAGE_SIZE = 32
CODES = 64
"""What an image or a sound is said in, in place of words."""

HEAD_WIDTH = re.compile(r".*(head_dim|headdim|head_size|dim_head|d_head|d_kv|kv_channels|rotary_dim|d_rel)")
MODALITY = re.compile(r"(image|video|audio|vision)_.*")
"""Special tokens that text has none of."""
IMAGE = re.compile(r"(.*_)?(image|img)_size|crop_size")
ANY_WIDTH = re.compile(r"(.*_)?(dim|dims|size|width|features|hidden|channels|dimension|groups)")
"""Fields that may be a width: they are one where they have the same value as another."""
DERIVED = re.compile(r".*(hidden_size|head_dim)")
"""Widths that some classes compute of others."""

# Where a config's own default leaves these open, some classes cannot be built.
OPEN = {"head_dim": HEAD_DIM, "num_key_value_heads": HEADS, "num_experts_per_tok": 2, "n_routed_experts": 4}
OPEN |= {"prediction_length": 24, "context_length": 24}

# (what the whole field name matches, largest value), first match wins; a value that is smaller already stays.
# 0 switches a part off. Only integers are looked at, so rates and switches need no exclusion.
SIZES = (
    # depth
    (r"num_(kv_shared|nextn_predict|mtp)_layers|num_nextn_predict_layers", 0),
    (r"num_global_layers", 1),
    (r"num_\w*attends_per_block", 2),
    (r".*(_period|_interval|_pattern|every_n_layers|_sparse_step|layer_step)|n_layers_per_.*|num_layers_per_.*", 2),
    (r".*_offset", 1),
    # attention
    (r".*(num_key_value|num_kv|kv_n|num_query)_(heads|groups)|multi_query_group_num", HEADS // 2),
    (r"index_n_heads|.*_key_heads", HEADS // 2),
    (r"index(er)?_kv_heads", 1),
    (r".*heads(_per_layer)?|n_head", HEADS),
    (r".*_rank", HEAD_DIM),  # of latent projections
    (r"o_groups", 2),
    (r"attention_window", HEAD_DIM),
    (r".*_chunk_length|axial_pos_shape", 16),  # a row is as long as the axes' product
    # experts
    (r"n_group|num_expert_groups?", 2),
    (r"topk_group|(.*_)?(n|num)_shared_experts", 1),
    (r".*experts_per_tok(en)?|(moe_)?top_?k(_experts)?|moe_k", 2),
    (r".*experts|zero_expert_num", 4),
    (r"index_topk.*", HEAD_DIM),
    # state spaces and convolutions
    (r"(mamba_)?expand", 1),  # inner width = width = heads × head width
    (r"(mamba_)?(n_groups|ngroups)", 1),
    (r"(mamba_)?d_ssm|lru_width", WIDTH),
    (r"(.*_)?(state_size|d_state)", HEAD_DIM),
    (r"(mamba_)?chunk_size", 16),
    # widths
    (r".*(intermediate_size|ffn_dim|ffn_hidden_size|feed_forward_size)(_mlp)?", 2 * WIDTH),
    (r"dff|d_ff|dim_ff|d_inner|n_inner|mlp_dim", 2 * WIDTH),
    (
        r".*(hidden_sizes?|hidden_dim|d_model|n_embd|dim_model|embedding_size|d_latents)(_global)?|adapter_out_dim|width",
        WIDTH,
    ),
    (r".*(emb|embed|embedding|proj|projection|projector_input|projector_output)_(dim|size)", WIDTH),
    (r".*hidden_size_per_layer_input", HEAD_DIM),
    (r"base_channels", WIDTH // 2),  # multiplied from stage to stage
    (r"conv_dim|tdnn_dim|(.*_)?unit_dims", WIDTH),
    (r".*_units", WIDTH),
    (r".*_channels?", WIDTH),
    # images and lengths
    (r"(.*_)?(object_)?queries|num_select", 12),  # fewer than places in a small image, more than objects
    (IMAGE.pattern, IMAGE_SIZE),
    (r"(.*_)?prompt_size", IMAGE_SIZE // 4),  # of a frame around an image
    (r"(.*_)?patch_size|encoder_stride", 8),
    (r"mm_tokens_per_image|latent_query_num|num_query_tokens", 4),
    (r"spec_size", WIDTH),  # both sides of a spectrogram that is folded to an image
    (r"num_latents", 16),
    (r"num_filters", 2),  # doubled from stage to stage
    (r"(original_)?max_position_embeddings|n_positions|n_ctx", 1024),
    (r"max_source_positions", WIDTH),  # two frames of a spectrogram make one
    (r"max_(seq_len|target_positions)", 1024),
    (r"num_position_embeddings", 16),
    (r"num_embeddings|codebook_size", CODES),
)

# The same for fractions: by what all widths or depths that a class has by itself are multiplied.
FRACTIONS = ((r"(width|depth)_coefficient", 1.0), (r"width_multiplier", 0.25))

LEAST = {"num_targets": 2}
"""Of what there have to be several: the only one of all classes is right whatever a model answers."""


def reduced(name: str, value: int, widths: frozenset[int]) -> int:
    """Reduce a size by its name; what equals a width stays equal to it.

    Args:
        name: Of the field.
        value: Of the field.
        widths: Hidden sizes of the config and of those beside it.
    """
    largest = next((largest for pattern, largest in SIZES if re.fullmatch(pattern, name)), None)
    if largest is not None:
        small = min(value, largest)
        # Three heads divide no width of the table.
        return 1 << small.bit_length() - 1 if small > 1 and name.endswith("heads") else small
    return WIDTH if value in widths and ANY_WIDTH.fullmatch(name) else value
