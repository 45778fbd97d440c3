"""Any config → the same architecture, tiny.

Nothing here knows a model by name. A config's fields are recognized by what their names say (`SIZES`), and the values
of the table fit together: every kind of head is `HEAD_DIM` wide, and heads × head width = width.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from transformers import PretrainedConfig

PAD, EOS, BOS, UNK = range(4)

NUM_LAYERS, MAX_LAYERS = 2, 4
WIDTH, HEADS, HEAD_DIM = 64, 4, 16
IMAGE_SIZE = 32

DEPTH = re.compile(r"(.*_)?(n|num|num_hidden|encoder|decoder|num_encoder|num_decoder)_layers?|(.*_)?depth|num_blocks")
HEAD_WIDTH = re.compile(r".*(head_dim|headdim|head_size|dim_head|d_head|d_kv|kv_channels|rotary_dim|d_rel)")
IMAGE = re.compile(r"(.*_)?image_size|crop_size")
TOKEN_ID = re.compile(r".*_token_(id|index)|(pad|eos|bos|unk|mask)_index")
# How the names of special tokens begin; those of other modalities become <unk>, which byte-level text never has.
ROLES = {"pad": PAD, "eos": EOS, "eod": EOS, "sep": EOS, "forced_eos": EOS, "bos": BOS, "cls": BOS, "decoder": BOS}
# Where a config's own default leaves these open, some classes cannot be built.
OPEN = {"head_dim": HEAD_DIM, "num_key_value_heads": HEADS, "num_experts_per_tok": 2, "n_routed_experts": 4}

# (what the whole field name matches, largest value), first match wins; a value that is smaller already stays.
# 0 switches a part off. Only integers are looked at, so rates and switches need no exclusion.
SIZES = (
    # depth
    (r"num_(kv_shared|nextn_predict|mtp)_layers|num_nextn_predict_layers", 0),
    (r"num_dense_layers|first_k_dense_replace|max_window_layers|num_global_layers|moe_layer_(start|end)_index", 1),
    (r".*(_period|_interval|_pattern|every_n_layers|_sparse_step|layer_step)", 2),
    (r".*_offset", 1),
    # attention
    (r".*(num_key_value|num_kv|kv_n|num_query)_(heads|groups)|multi_query_group_num", HEADS // 2),
    (r"index_n_heads|.*_key_heads", HEADS // 2),
    (r".*heads(_per_layer)?|n_head", HEADS),
    (r".*_rank", HEAD_DIM),  # of latent projections
    (r"o_groups", 2),
    # experts
    (r"n_group|num_expert_groups?", 2),
    (r"topk_group|(.*_)?(n|num)_shared_experts", 1),
    (r".*experts_per_tok(en)?|(moe_)?top_?k|moe_top_k|moe_k", 2),
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
    (r".*(hidden_size|hidden_dim|d_model|n_embd|dim_model|embedding_size)(_global)?|adapter_out_dim|width", WIDTH),
    (r".*(emb|embed|embedding|proj|projection|projector_input|projector_output)_(dim|size)", WIDTH),
    (r".*hidden_size_per_layer_input", HEAD_DIM),
    (r".*_channels?", WIDTH),
    # images and lengths
    (IMAGE.pattern, IMAGE_SIZE),
    (r"(.*_)?patch_size|encoder_stride", 8),
    (r"mm_tokens_per_image", 4),
    (r"(original_)?max_position_embeddings|n_positions|n_ctx", 1024),
    (r"max_(seq_len|source_positions|target_positions)", 1024),
    (r"num_position_embeddings", 16),
)


def shrink(config: PretrainedConfig, vocab_size: int) -> PretrainedConfig:
    """Reduce a config to the same architecture, tiny. The given config is left as it is.

    Args:
        config: Any config, with its sub-configs.
        vocab_size: Number of tokens.

    Returns:
        A new config, built by its own class so that derived fields are computed afresh.
    """
    fields = config.to_dict()
    small = _shrink_fields(fields, _scale(config, fields, vocab_size)) | _sub_configs(config, vocab_size)
    if "mrope_section" in f"{small} {inspect.getsource(type(config))}":
        small |= _sectioned(small)
    given = dict(_arguments(type(config), fields, small))
    tiny = type(config)(**given)
    if "vocab_size" in given:
        tiny.pad_token_id = PAD  # also where the original has no padding: ours does
    return tiny


@dataclass(frozen=True)
class _Scale:
    """What one config's fields are reduced to.

    Attributes:
        vocab_size: Number of tokens.
        depth: Number of layers before, 0 where there are none.
        kept: The layers that stay, by their old index.
        head_ratio: New head width / old head width.
        num_heads: Number of heads before. Where keys have as many, they keep as many: some attention needs it.
    """

    vocab_size: int
    depth: int
    kept: tuple[int, ...]
    head_ratio: Fraction
    num_heads: int


def _scale(config: PretrainedConfig, fields: dict[str, Any], vocab_size: int) -> _Scale:
    """Read what the reduction depends on, under the name that the config's family gives it."""

    def field(name: str) -> int | None:
        value = fields.get(config.attribute_map.get(name, name))
        return value if isinstance(value, int) else None

    depths = [field("num_hidden_layers"), *(value for name, value in fields.items() if DEPTH.fullmatch(name))]
    depth = next((value for value in depths if isinstance(value, int)), 0)
    num_heads = field("num_attention_heads") or 1
    head_dim = field("head_dim") or (field("hidden_size") or 0) // num_heads or HEAD_DIM
    return _Scale(vocab_size, depth, _kept_layers(fields, depth), Fraction(HEAD_DIM, head_dim), num_heads)


def _shrink_fields(fields: dict[str, Any], scale: _Scale) -> dict[str, Any]:
    return {name: _shrink_value(str(name), value, scale) for name, value in fields.items()}


def _shrink_value(name: str, value: Any, scale: _Scale) -> Any:
    """Reduce one field, by its name and the shape of its value; anything unrecognized stays."""
    if value is None:
        return OPEN.get(name)
    if TOKEN_ID.fullmatch(name):
        return next((token_id for start, token_id in ROLES.items() if name.startswith(start)), UNK)
    if "drop" in name and isinstance(value, float):
        return 0.0
    if isinstance(value, dict):
        return _shrink_fields(value, scale)
    if isinstance(value, int) and not isinstance(value, bool):
        return _shrink_size(name, value, scale)
    if isinstance(value, (list, tuple, str)):
        return _shrink_sequence(name, value, scale)
    return value


def _shrink_size(name: str, value: int, scale: _Scale) -> int:
    if name == "vocab_size":
        return scale.vocab_size
    if "vocab" in name:
        return min(value, scale.vocab_size)
    if name == "qk_head_dim":
        return 2 * HEAD_DIM  # its rotary part and its plain part
    if HEAD_WIDTH.fullmatch(name):
        return HEAD_DIM if value else 0
    if name == "num_key_value_heads" and value == scale.num_heads:
        return min(value, HEADS)
    if DEPTH.fullmatch(name):
        return min(value, max(len(scale.kept), NUM_LAYERS))
    return next((min(value, largest) for pattern, largest in SIZES if re.fullmatch(pattern, name)), value)


def _shrink_sequence(name: str, value: Sequence[Any], scale: _Scale) -> Any:
    """Cut a field that says something of every layer, or of every rotary frequency, to what is left of them."""
    if name in ("short_factor", "long_factor"):
        return list(value[: int(len(value) * scale.head_ratio)])
    if _is_index_list(name, value, scale.depth):
        return [new for new, old in enumerate(scale.kept) if old in value]
    if IMAGE.fullmatch(name):
        return [min(side, IMAGE_SIZE) if isinstance(side, int) else side for side in value]
    if name == "image_grid_pinpoints":  # sizes of images: multiples of the size of a tile
        tile = math.gcd(*(side for size in value for side in size))
        return [[side // tile * IMAGE_SIZE for side in size] for size in value]
    if name == "attention_types":  # [[[kind, kind, …], times], …]
        return [[kinds, max(1, len(scale.kept) // len(kinds))] for kinds, _ in value]
    per_layer = _per_layer(name, value, scale.depth)
    if per_layer is None:
        return value
    kept = [_shrink_value(name, per_layer[old], scale) for old in scale.kept]
    return "".join(kept) if isinstance(value, str) else kept


def _kept_layers(fields: dict[str, Any], depth: int) -> tuple[int, ...]:
    """Choose layers so that every kind of layer stays, as far as `MAX_LAYERS` allows: [0, 1] where all are alike."""
    traits = [entries for name, value in fields.items() if (entries := _per_layer(name, value, depth)) is not None]
    kinds: dict[str, int] = {}
    for layer in range(depth):
        kinds.setdefault(str([entries[layer] for entries in traits]), layer)
    kept = list(kinds.values())[:MAX_LAYERS]
    others = [layer for layer in range(depth) if layer not in kept]
    return tuple(sorted(kept + others[: max(0, NUM_LAYERS - len(kept))]))


def _per_layer(name: str, value: Any, depth: int) -> Sequence[Any] | None:
    """A field's entry for every layer, None if it has none; a shorter pattern of names repeats."""
    if _is_index_list(name, value, depth):
        return [layer in value for layer in range(depth)]
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], str) and "type" in name:
        return [value[layer % len(value)] for layer in range(depth)]
    if isinstance(value, str) and "pattern" not in name:
        return None
    return value if isinstance(value, (list, tuple, str)) and 0 < len(value) == depth else None


def _is_index_list(name: str, value: Any, depth: int) -> bool:
    """Whether a field lists layers by their index, in ascending order."""
    if not (isinstance(value, (list, tuple)) and re.search("layer|idx|index|indices", name)):
        return False
    ints = [item for item in value if isinstance(item, int) and 0 <= item < depth]
    return len(ints) == len(value) > 0 and ints == sorted(set(ints))


def _sub_configs(config: PretrainedConfig, vocab_size: int) -> dict[str, Any]:
    """The config's own sub-configs, shrunk, as the dicts that every config class reads from its JSON file."""
    found = {name: value for name, value in vars(config).items() if isinstance(value, PretrainedConfig)}
    small = {name: shrink(value, vocab_size).to_diff_dict() for name, value in found.items()}
    return {name: {key: value[key] for key in value if key != "transformers_version"} for name, value in small.items()}


def _sectioned(fields: dict[str, Any]) -> dict[str, Any]:
    """The rotary field, its frequencies divided among time, height and width.

    A class that divides them may leave the sections out of its config, and would then fall back on those of full size.
    """
    name = "rope_parameters" if "rope_parameters" in fields else "rope_scaling"
    rope = fields.get(name) or {"rope_type": "default"}
    if name not in fields or any(isinstance(value, dict) for value in rope.values()):  # one for each kind of layer
        return {}
    share = rope.get("partial_rotary_factor", fields.get("partial_rotary_factor")) or 1.0
    total = int(HEAD_DIM * share) // 2
    old = rope.get("mrope_section", (1, 1, 1))
    ends = [sum(old[:i]) * total // sum(old) for i in range(len(old) + 1)]
    return {name: {**rope, "mrope_section": [end - start for start, end in pairwise(ends)]}}


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
        elif fields[name] != usual.get(name, fields[name]) and name not in ("transformers_version", "model_type"):
            yield name, value
