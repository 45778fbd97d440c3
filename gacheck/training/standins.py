"""Stand-ins: any config → the same architecture, tiny, with random weights and a tokenizer trained on the spot.

What is under test is the code that computes and scales the loss. That code is the same for two layers of width 64
as for the model's real size, so a verdict about a class needs neither its weights nor the network.

Nothing here knows a model by name. A config's fields are recognized by what their names say (`SIZES`), and the values
of the table fit together: every kind of head is `HEAD_DIM` wide, and heads × head width = width.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from gacheck.errors import ModelError

PAD, EOS, BOS, UNK = range(4)
SPECIAL_TOKENS = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}

NUM_LAYERS, MAX_LAYERS = 2, 4
WIDTH, HEADS, HEAD_DIM = 64, 4, 16

DEPTH = re.compile(r"(.*_)?(n|num|num_hidden|encoder|decoder|num_encoder|num_decoder)_layers?|(.*_)?depth|num_blocks")
TOKEN_ID = re.compile(r".*_token_(id|index)|(pad|eos|bos|unk|mask)_index")
ROLES = tuple(
    (re.compile(pattern), token_id)
    for pattern, token_id in (
        (r"pad", PAD),
        (r"(forced_)?(eos|eod|sep)", EOS),
        (r"(forced_)?(bos|cls)|decoder_start", BOS),
    )
)

# (what the whole field name matches, largest value), first match wins; a value that is smaller already stays.
# 0 switches a part off. Only integers are looked at, so rates and switches need no exclusion.
SIZES: tuple[tuple[re.Pattern[str], int], ...] = tuple(
    (re.compile(pattern), value)
    for pattern, value in (
        # depth
        (r"num_(kv_shared|nextn_predict|mtp)_layers|num_nextn_predict_layers", 0),
        (r"num_dense_layers|first_k_dense_replace|max_window_layers|num_global_layers|moe_layer_start_index", 1),
        (r"moe_layer_end_index", NUM_LAYERS - 1),
        (r".*(_period|_interval|_pattern|every_n_layers|_sparse_step|layer_step)", 2),
        (r".*_offset", 1),
        # attention
        (r".*(num_key_value|num_kv|kv_n|num_query)_(heads|groups)|multi_query_group_num", HEADS // 2),
        (r"index_n_heads|.*(_key_heads)", HEADS // 2),
        (r".*heads(_per_layer)?|n_head", HEADS),
        (r".*(head_dim|headdim|head_size|dim_head|d_head|d_kv|kv_channels|rotary_dim|d_rel)", HEAD_DIM),
        (r".*_rank", HEAD_DIM),
        (r"o_groups", 2),
        # experts
        (r"n_group|num_expert_groups?", 2),
        (r"topk_group|n_shared_experts|num_shared_experts|.*_num_shared_experts", 1),
        (r".*experts_per_tok(en)?|(moe_)?top_?k|moe_top_k|moe_k", 2),
        (r".*experts|.*num_experts|zero_expert_num", 4),
        (r"index_topk.*", HEAD_DIM),
        # state spaces and convolutions
        (r"(mamba_)?expand", 1),  # inner width = width = heads × head width
        (r"(mamba_)?(n_groups|ngroups)", 1),
        (r"(mamba_)?d_ssm|lru_width", WIDTH),
        (r"(.*_)?(state_size|d_state)", HEAD_DIM),
        (r"(mamba_)?chunk_size", 16),
        # widths
        (
            r".*(intermediate_size|ffn_dim|ffn_hidden_size|feed_forward_size)(_mlp)?|dff|d_ff|dim_ff|d_inner|n_inner|mlp_dim",
            128,
        ),
        (r".*(hidden_size|hidden_dim|d_model|n_embd|dim_model)(_global)?|adapter_out_dim|width", WIDTH),
        (
            r".*(emb|embed|embedding|proj|projection|projector_input|projector_output)_(dim|size)|.*embedding_size",
            WIDTH,
        ),
        (r".*hidden_size_per_layer_input", HEAD_DIM),
        # images and lengths
        (r"(.*_)?image_size|crop_size", 32),
        (r"(.*_)?patch_size", 8),
        (r"mm_tokens_per_image", 4),
        (
            r"(original_)?max_position_embeddings|n_positions|n_ctx|max_(seq_len|source_positions|target_positions)",
            1024,
        ),
        (r"num_position_embeddings", 16),
    )
)


def tiny_config(model_type: str, vocab_size: int) -> PretrainedConfig:
    """Build the tiny config of an architecture.

    Args:
        model_type: A model type of the installed transformers, such as `llama`.
        vocab_size: Number of tokens.

    Returns:
        The config: about 64 wide, 2 to 4 layers deep, without dropout.

    Raises:
        ModelError: The installed transformers does not know the type, or its config cannot be shrunk.
    """
    known = list(CONFIG_MAPPING.keys())
    if model_type not in known:
        close = difflib.get_close_matches(model_type, known, n=3)
        raise ModelError(
            f"The model type {model_type!r} is unknown.",
            why=f"transformers {transformers.__version__}, which is installed, has no config for it.",
            fix=f"Did you mean {' or '.join(close)}?" if close else "Check the spelling, or upgrade transformers.",
        )
    try:
        return shrink(AutoConfig.for_model(model_type), vocab_size)
    except Exception as error:  # whatever a config's own validation raises
        raise _not_tiny(model_type, error) from error


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
    given = {name: value for name, value in small.items() if _is_given(name, fields[name], type(config))}
    tiny = type(config)(**given)
    if "vocab_size" in given:
        tiny.pad_token_id = PAD  # also where the original has no padding: ours does
    return tiny


def build_model(config: PretrainedConfig, seed: int) -> PreTrainedModel:
    """Build a model with random weights: the causal LM of the config's type, else its image-text-to-text model.

    Args:
        config: The config, usually from `tiny_config`.
        seed: Seed of torch's generator, which decides the weights.

    Returns:
        The model on the CPU in float32, in evaluation mode as `from_config` leaves it.

    Raises:
        ModelError: The type has neither class.
    """
    # A release without the second class simply has one auto class less to ask.
    autos = (AutoModelForCausalLM, getattr(transformers, "AutoModelForImageTextToText", None))
    for auto in autos:
        if auto is not None and type(config) in auto._model_mapping:
            torch.manual_seed(seed)
            model: PreTrainedModel = auto.from_config(config).float()
            return model
    raise ModelError(
        f"The model type {config.model_type!r} has no language-modelling class.",
        why=f"transformers {transformers.__version__} lists it neither as causal LM nor as image-text-to-text model.",
        fix="Choose a model that generates text, such as llama.",
    )


def tiny_model(model_type: str, vocab_size: int, seed: int) -> PreTrainedModel:
    """Build the stand-in of an architecture: `tiny_config`, then `build_model`.

    Args:
        model_type: A model type of the installed transformers.
        vocab_size: Number of tokens.
        seed: Seed of the weights.

    Returns:
        The model on the CPU in float32.

    Raises:
        ModelError: The type is unknown, has no language-modelling class or cannot be built tiny.
    """
    config = tiny_config(model_type, vocab_size)
    try:
        return build_model(config, seed)
    except ModelError:
        raise
    except Exception as error:  # whatever a model's own constructor raises
        raise _not_tiny(model_type, error) from error


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer: same texts, same tokenizer.

    Args:
        texts: The training texts; read once.
        vocab_size: Most tokens that it may have: at least 260, the 256 bytes and 4 special tokens.

    Returns:
        A tokenizer that pads on the right, adds no special tokens itself, and decodes to exactly what was encoded.

    Raises:
        ValueError: `vocab_size` is below 260.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    smallest = len(alphabet) + len(SPECIAL_TOKENS)
    if vocab_size < smallest:
        raise ValueError(f"vocab_size must be at least {smallest}, got {vocab_size}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, padding_side="right", clean_up_tokenization_spaces=False, **SPECIAL_TOKENS
    )


def _not_tiny(model_type: str, error: Exception) -> ModelError:
    """The error of an architecture whose fields do not fit together once shrunk."""
    first_line = (str(error).strip().splitlines() or [""])[0]
    return ModelError(
        f"No tiny {model_type} can be built.",
        why=f"{type(error).__name__}: {first_line}",
        fix="Name a small checkpoint of this architecture instead.",
    )


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
    def field(name: str) -> int | None:
        value = fields.get(config.attribute_map.get(name, name))
        return value if isinstance(value, int) else None

    depths = [field("num_hidden_layers"), *(value for name, value in fields.items() if DEPTH.fullmatch(name))]
    depth = next((value for value in depths if isinstance(value, int)), 0)
    num_heads = field("num_attention_heads") or 1
    head_dim = field("head_dim") or (field("hidden_size") or HEAD_DIM) // num_heads
    return _Scale(vocab_size, depth, _kept_layers(fields, depth), Fraction(HEAD_DIM, head_dim), num_heads)


def _shrink_fields(fields: dict[str, Any], scale: _Scale) -> dict[str, Any]:
    return {name: _shrink_value(str(name), value, scale) for name, value in fields.items()}


def _shrink_value(name: str, value: Any, scale: _Scale) -> Any:
    """Reduce one field, by its name and the shape of its value; anything unrecognized stays."""
    if name == "head_dim" and value is None:
        return HEAD_DIM
    if TOKEN_ID.fullmatch(name):
        return _special_id(name, value)
    if "drop" in name and isinstance(value, float):
        return 0.0
    if isinstance(value, dict):
        return _shrink_fields(value, scale)
    if isinstance(value, int) and not isinstance(value, bool):
        return _shrink_size(name, value, scale)
    if isinstance(value, (list, tuple, str)):
        return _shrink_sequence(name, value, scale)
    return value


def _special_id(name: str, value: Any) -> int | None:
    """The tokenizer's id for a special token. Those of other modalities become <unk>, which byte-level text never has."""
    if value is None:
        return None
    return next((token_id for pattern, token_id in ROLES if pattern.match(name)), UNK)


def _shrink_size(name: str, value: int, scale: _Scale) -> int:
    if name == "vocab_size":
        return scale.vocab_size
    if "vocab" in name:
        return min(value, scale.vocab_size)
    if name == "num_key_value_heads" and value == scale.num_heads:
        return min(value, HEADS)
    if DEPTH.fullmatch(name):
        return min(value, max(len(scale.kept), NUM_LAYERS))
    return next((min(value, largest) for pattern, largest in SIZES if pattern.fullmatch(name)), value)


def _shrink_sequence(name: str, value: Sequence[Any], scale: _Scale) -> Any:
    """Cut a field that says something of every layer, or of every rotary frequency, to what is left of them."""
    if name == "mrope_section":
        return _portions(value, int(sum(value) * scale.head_ratio))
    if name in ("short_factor", "long_factor"):
        return list(value[: int(len(value) * scale.head_ratio)])
    if _is_index_list(name, value, scale.depth):
        return [new for new, old in enumerate(scale.kept) if old in value]
    if value and isinstance(value[0], list) and all(_is_repeat(item) for item in value):
        return [[item[0], max(1, len(scale.kept) // len(item[0]))] for item in value]
    per_layer = _per_layer(name, value, scale.depth)
    if per_layer is None:
        return value
    kept = [_shrink_value(name, per_layer[old], scale) for old in scale.kept]
    return "".join(kept) if isinstance(value, str) else kept


def _kept_layers(fields: dict[str, Any], depth: int) -> tuple[int, ...]:
    """Choose layers so that every kind of layer stays, as far as `MAX_LAYERS` allows: [0, 1] where all are alike."""
    kinds: dict[tuple[str, ...], int] = {}
    for layer in range(depth):
        kinds.setdefault(tuple(_layer_traits(fields, layer, depth)), layer)
    kept = list(kinds.values())[:MAX_LAYERS]
    others = (layer for layer in range(depth) if layer not in kept)
    kept += list(others)[: max(0, NUM_LAYERS - len(kept))]
    return tuple(sorted(kept))


def _layer_traits(fields: dict[str, Any], layer: int, depth: int) -> Iterator[str]:
    """What the fields say of one layer."""
    for name, value in fields.items():
        if _is_index_list(name, value, depth):
            yield str(layer in value)
        elif (per_layer := _per_layer(name, value, depth)) is not None:
            yield str(per_layer[layer])


def _per_layer(name: str, value: Any, depth: int) -> Sequence[Any] | None:
    """A field's entry for every layer, None if it has none; a shorter pattern of names repeats."""
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


def _is_repeat(item: Any) -> bool:
    """Whether an item has the form [[kind, kind, …], times]."""
    return isinstance(item, list) and len(item) == 2 and isinstance(item[0], list) and isinstance(item[1], int)


def _portions(shares: Sequence[int], total: int) -> list[int]:
    """Divide a total in the proportion of the shares, in whole numbers."""
    ends = [sum(shares[: i + 1]) * total // sum(shares) for i in range(len(shares))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _sub_configs(config: PretrainedConfig, vocab_size: int) -> dict[str, Any]:
    """The config's own sub-configs, shrunk, as the dicts that every config class reads from its JSON file."""
    found = {name: value for name, value in vars(config).items() if isinstance(value, PretrainedConfig)}
    return {name: shrink(value, vocab_size).to_diff_dict() for name, value in found.items()}


def _is_given(name: str, value: Any, cls: type[PretrainedConfig]) -> bool:
    """Whether the class wants a field: one that it names itself, or one of every config that differs from the usual.

    Any other field is derived, and would arrive stale.
    """
    for base in cls.__mro__:
        own = base.__dict__
        if base is not PretrainedConfig and name in {
            *inspect.signature(base).parameters,
            *own.get("__annotations__", {}),
        }:
            return True
    usual = PretrainedConfig().to_dict()
    return name in usual and value != usual[name] and name not in ("transformers_version", "model_type")
