"""Options: defaults < YAML < flags; what they mean together; what is said of one that cannot be used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gacheck.config import ExperimentConfig, RunConfig, load_config, make_experiment
from gacheck.errors import ConfigError
from gacheck.misuse import example_of


@pytest.fixture
def yaml_file(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(text: str | bytes) -> Path:
        path = tmp_path / "run.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def refused(path: Path | None, flags: Mapping[str, Any]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(path, flags)
    assert caught.value.exit_code == 2
    assert caught.value.why
    assert caught.value.fix
    return caught.value


def test_defaults_of_the_contract() -> None:
    config = load_config(None, {})

    assert config == RunConfig()
    assert config.model == "tiny:gemma3"
    assert config.gradient_accumulation_steps == (1, 2, 4, 8)
    assert config.loss_kwargs == ("on", "off")
    assert (config.rows_per_step(8), config.max_steps, config.max_length, config.seed) == (16, 8, 128, 0)
    assert (config.optim, config.max_grad_norm, config.learning_rate) == ("adamw_torch", 1.0, None)
    assert (config.dtype, config.bf16, config.fp16, config.device) == ("float32", False, False, "auto")


def test_defaults_then_yaml_then_flags(yaml_file) -> None:  # type: ignore[no-untyped-def]
    path = yaml_file("max_steps: 3\nseed: 7\nmodel: tiny:llama\n")

    config = load_config(path, {"seed": 9, "model": None})  # None: the flag was not given

    assert (config.max_steps, config.seed, config.model, config.max_length) == (3, 9, "tiny:llama", 128)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("loss_kwargs: [on, off]", "loss_kwargs", ("on", "off")),
        ("loss_kwargs: on", "loss_kwargs", ("on",)),
        ("loss_kwargs: off", "loss_kwargs", ("off",)),
        ("loss_kwargs: on,off", "loss_kwargs", ("on", "off")),
        ("loss_kwargs: ['off', 'on']", "loss_kwargs", ("off", "on")),
        ("gradient_accumulation_steps: [1, 4]", "gradient_accumulation_steps", (1, 4)),
        ("gradient_accumulation_steps: 4", "gradient_accumulation_steps", (4,)),
        ("gradient_accumulation_steps: 1,2", "gradient_accumulation_steps", (1, 2)),
        ("gradient-accumulation-steps: 2", "gradient_accumulation_steps", (2,)),
        ("learning_rate: 1e-3", "learning_rate", 0.001),
        ("k: [1, 4]", "gradient_accumulation_steps", (1, 4)),
        ("k: 2", "gradient_accumulation_steps", (2,)),
        ("dtype: bf16", "dtype", "bfloat16"),
        ("{processes: 2, average_tokens: off}", "average_tokens", "off"),
        ("{processes: 2, average_tokens: 'on'}", "average_tokens", "on"),
        ("json: true", "json_output", True),
        ("out: runs/a", "out", Path("runs/a")),
        ("config_override: {rope_theta: 5.0}", "config_override", {"rope_theta": 5.0}),
        ("", "max_steps", 8),
        ("# nothing\n", "max_steps", 8),
    ],
)
def test_yaml(text: str, field: str, value: object, yaml_file) -> None:  # type: ignore[no-untyped-def]
    assert getattr(load_config(yaml_file(text), {}), field) == value


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        ({"gradient_accumulation_steps": "1,2"}, "gradient_accumulation_steps", (1, 2)),
        ({"gradient_accumulation_steps": " 4 , 2,"}, "gradient_accumulation_steps", (4, 2)),
        ({"loss_kwargs": "off"}, "loss_kwargs", ("off",)),
        ({"loss_kwargs": "on,off"}, "loss_kwargs", ("on", "off")),
        ({"json": True}, "json_output", True),
        *(({"dtype": word}, "dtype", "bfloat16") for word in ("bf16", "bfloat16", "torch.bfloat16", "BF16")),
        *(({"dtype": word}, "dtype", "float16") for word in ("fp16", "half", "torch.half", "torch.float16")),
        *(({"dtype": word}, "dtype", "float32") for word in ("fp32", "float", "torch.float")),
        *(({"dtype": word}, "dtype", "float64") for word in ("fp64", "double", "torch.float64")),
    ],
)
def test_flags(flags: dict[str, Any], field: str, value: object) -> None:
    assert getattr(load_config(None, flags), field) == value


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("use_cache=true", "use_cache", True),
        ("hidden_dropout=0.5", "hidden_dropout", 0.5),
        ("layer_norm_eps=1e-6", "layer_norm_eps", 1e-6),
        ("text_config.layers=[1, 2]", "text_config.layers", [1, 2]),
        ("name=gelu", "name", "gelu"),
        ("name='1e-6'", "name", "1e-6"),
        ("a=b=c", "a", "b=c"),
        ("pad_token_id=", "pad_token_id", None),
    ],
)
def test_config_override(word: str, key: str, value: object) -> None:
    override = load_config(None, {"config_override": ["first=1", word]}).config_override

    assert override == {"first": 1, key: value}
    assert type(override[key]) is type(value)


@pytest.mark.parametrize(
    ("options", "k", "micro_batch", "rows"),
    [
        ({}, 8, 2, 16),
        ({}, 1, 16, 16),
        ({"effective_batch_size": 24}, 4, 6, 24),
        # The smallest multiple of all k from 16 on.
        ({"gradient_accumulation_steps": "3"}, 3, 6, 18),
        ({"gradient_accumulation_steps": "1,2,3"}, 1, 18, 18),
        ({"gradient_accumulation_steps": "32"}, 32, 1, 32),
        ({"gradient_accumulation_steps": "4,6,10"}, 10, 6, 60),
        ({"gradient_accumulation_steps": "17"}, 17, 1, 17),
        ({"gradient_accumulation_steps": "1024"}, 1024, 1, 1024),
        ({"per_device_train_batch_size": 3}, 1, 3, 3),
        ({"per_device_train_batch_size": 3}, 8, 3, 24),
    ],
)
def test_rows_by_hand(options: dict[str, Any], k: int, micro_batch: int, rows: int) -> None:
    config = ExperimentConfig.model_validate(options)

    assert (config.micro_batch_size(k), config.rows_per_step(k)) == (micro_batch, rows)


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, 128),  # 8 steps × 16
        ({"max_steps": 3, "effective_batch_size": 32}, 96),
        ({"max_steps": 2, "per_device_train_batch_size": 3, "gradient_accumulation_steps": "1,4"}, 24),  # 2 × 3 × 4
    ],
)
def test_num_rows_by_hand(options: dict[str, Any], rows: int) -> None:
    assert ExperimentConfig(**options).num_rows == rows


@pytest.mark.parametrize(
    ("text", "flags", "effective", "per_device"),
    [
        ("effective_batch_size: 32", {"per_device_train_batch_size": 2}, None, 2),
        ("per_device_train_batch_size: 2", {"effective_batch_size": 32}, 32, None),
        ("per_device_train_batch_size: 2", {"per_device_train_batch_size": 4}, None, 4),
        ("per_device_train_batch_size: 2", {"effective_batch_size": None}, None, 2),
    ],
)
def test_a_flag_of_a_pair_replaces_the_pair_in_the_file(  # type: ignore[no-untyped-def]
    text: str, flags: dict[str, Any], effective: int | None, per_device: int | None, yaml_file
) -> None:
    config = load_config(yaml_file(text), flags)

    assert (config.effective_batch_size, config.per_device_train_batch_size) == (effective, per_device)


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"effective_batch_size": 16, "per_device_train_batch_size": 2}, "--effective-batch-size and --per-device-"),
        ({"bf16": True, "fp16": True}, "--bf16 and --fp16"),
        ({"force": True, "resume": True, "out": "runs"}, "--force and --resume"),
        ({"resume": True}, "--resume goes with --out"),
        ({"force": True}, "--force goes with --out"),
        ({"shard": "fsdp"}, "--shard fsdp goes with several processes"),
        ({"average_tokens": "off"}, "--average-tokens off goes with several processes"),
    ],
)
def test_options_that_exclude_or_need_each_other(flags: dict[str, Any], names: str) -> None:
    assert names in refused(None, flags).what


BAD_VALUES = [
    ("gradient_accumulation_steps", "1,x", "x"),
    ("gradient_accumulation_steps", "0,2", "0"),
    ("gradient_accumulation_steps", "2,-1", "-1"),
    ("gradient_accumulation_steps", "2,2", "2,2"),
    ("gradient_accumulation_steps", "1.5", "1.5"),
    ("gradient_accumulation_steps", "", "empty"),
    ("gradient_accumulation_steps", "7,11,13,16", "16016"),
    ("loss_kwargs", "maybe", "maybe"),
    ("loss_kwargs", "on,on", "on,on"),
    ("loss_kwargs", "", "empty"),
    ("effective_batch_size", 0, "0"),
    ("effective_batch_size", 12, "8"),
    ("per_device_train_batch_size", 0, "0"),
    ("max_steps", 0, "0"),
    ("max_steps", "many", "many"),
    ("max_length", 7, "7"),
    ("learning_rate", 0, "0"),
    ("average_tokens", "perhaps", "perhaps"),
    ("shard", "pp", "pp"),
    ("pass_timeout", 0, "0"),
    ("pass_timeout", -1.5, "-1.5"),
    ("pass_timeout", 1e300, "1e+300"),
    ("learning_rate", -0.25, "-0.25"),
    ("learning_rate", math.nan, "NaN"),
    ("max_grad_norm", -3.5, "-3.5"),
    ("max_grad_norm", math.inf, "Infinity"),
    ("label_smoothing_factor", 1.5, "1.5"),
    ("label_smoothing_factor", -0.5, "-0.5"),
    ("seed", -17, "-17"),
    ("seed", 2**32, str(2**32)),
    ("dtype", "float8", "float8"),
    ("bf16", "perhaps", "perhaps"),
    ("model", 5, "5"),
    ("config_override", ["a"], "'a'"),
    ("config_override", ["=1"], "'=1'"),
    ("config_override", ["a=[1"], "'a=[1'"),
]


@pytest.mark.parametrize(("name", "value", "shown"), BAD_VALUES, ids=lambda v: str(v)[:30])
def test_a_bad_value_is_named_with_its_option(name: str, value: object, shown: str) -> None:
    error = refused(None, {name: value})

    flag = "-k" if name == "gradient_accumulation_steps" else "--" + name.replace("_", "-")
    assert flag in error.what
    assert shown in error.what.replace(flag, "")
    assert flag in error.fix or "smaller k" in error.fix  # a value that works
    for jargon in ("Value error", "pydantic", "http", "type=", "RunConfig", "{", name if "_" in name else "{"):
        assert jargon not in str(error)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("max_step", "'max_steps'"),
        ("gradient_acumulation_steps", "'gradient_accumulation_steps'"),
        ("lossargs", "'loss_kwargs'"),
        ("jsn", "'json'"),
        ("zebra", "choose one of  model, revision"),
    ],
)
def test_an_unknown_option_is_told_with_the_nearest(name: str, suggestion: str, yaml_file) -> None:  # type: ignore[no-untyped-def]
    for error in (refused(None, {name: 1}), refused(yaml_file(f"{name}: 1"), {})):
        assert f"{name!r}" in error.what
        assert suggestion in error.fix


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- max_steps", "holds a list"),
        ("8", "holds a number"),
        ("a: [", "not valid YAML"),
        (b"a: \xff", "not valid YAML"),
        ("model: !!python/object:os.system x", "not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_used(text: str | bytes, message: str, yaml_file) -> None:  # type: ignore[no-untyped-def]
    path = yaml_file(text)
    error = refused(path, {})

    assert str(path) in error.what
    assert message in error.what
    assert "\n" not in error.what


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "absent.yaml", {}).what
    assert "directory" in refused(tmp_path, {}).what


def test_experiment_is_what_decides_the_numbers(tmp_path: Path) -> None:
    flags = {"seed": 3, "gradient_accumulation_steps": "1,2"}

    one, other = load_config(None, {**flags, "out": tmp_path, "quiet": True}), load_config(None, flags)

    assert one.experiment() == other.experiment()
    assert type(one.experiment()) is ExperimentConfig
    assert one.experiment() != load_config(None, {**flags, "seed": 4}).experiment()


def test_what_stands_in_a_file_is_said_as_it_stands_there(yaml_file) -> None:  # type: ignore[no-untyped-def]
    for key in ("max-steps", "max_steps"):
        path = yaml_file(f"{key}: 0")
        error = refused(path, {})
        assert error.what.startswith(f"{path}: {key}: 0 ")
        assert f"{key}: 8" in error.fix


def test_a_flag_that_replaces_a_key_is_said_as_a_flag(yaml_file) -> None:  # type: ignore[no-untyped-def]
    error = refused(yaml_file("max_steps: 3"), {"max_steps": "0"})

    assert error.what.startswith("--max-steps 0 ")
    assert "max_steps" not in str(error)


def test_k_is_said_as_it_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    for typed in ("--gradient-accumulation-steps", "--gradient-accumulation-steps=0", "-k"):
        monkeypatch.setattr("sys.argv", ["gacheck", "run", typed])
        assert refused(None, {"gradient_accumulation_steps": "0"}).what.startswith(f"{typed.removesuffix('=0')} 0")


def test_in_code_an_option_is_an_argument() -> None:
    with pytest.raises(ConfigError) as caught:
        make_experiment(effective_batch_size=12)
    assert caught.value.what.startswith("effective_batch_size=12 cannot be divided by k = 8")
    assert "effective_batch_size=16" in caught.value.fix


@pytest.mark.parametrize("value", ["{x}", "{max_steps}", "{max_steps=3}", "x" * 500, "\n", "{" * 30])
def test_a_value_is_no_pattern(value: str) -> None:
    error = refused(None, {"max_steps": value})

    assert error.what.startswith("--max-steps ")
    assert "--max-steps 3" not in error.what
    assert len(error.what) < 200


@pytest.mark.parametrize("values", [{"effective_batch_size": 10**400 + 1}, {"gradient_accumulation_steps": (10**400,)}])
def test_a_number_beyond_all_bounds_is_refused_in_words(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        make_experiment(**values)
    assert next(iter(values)) in caught.value.what


def test_every_option_has_a_value_to_write_for_example() -> None:
    examples = [example_of(RunConfig, name) for name in RunConfig.model_fields]
    assert [each for each in examples if "…" in each] == []
