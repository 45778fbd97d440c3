"""What to measure and how to speak of it: defaults < YAML < flags.

Every field of `RunConfig` is at once a YAML key, a command-line option (see `commands/options.py`) and, for
`ExperimentConfig`, part of the record. Options that the Trainer has too carry the Trainer's own names.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gacheck.errors import ConfigError, one_line
from gacheck.rules.facts import Flag

DEFAULT_EFFECTIVE_BATCH_SIZE = 16
OBJECT_NAME = r"[\w.]+:\w+"
"""A class or a function of the user's: package.module:name."""
STAND_IN_PREFIX = "tiny:"


def _split_commas(value: object) -> object:
    """Accept `1,2,4` from a flag and a bare YAML scalar where a list is meant; YAML reads `on` as a boolean."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    items = value if isinstance(value, (list, tuple)) else [value]
    return [Flag.of(item) if isinstance(item, bool) else item for item in items]


def _read_scalar(text: str) -> object:
    """Read a value as YAML does, and `1e-6`, which YAML 1.1 takes for a word, as the number that it is."""
    value = yaml.safe_load(text)
    if value == text:
        with contextlib.suppress(ValueError):
            return float(text)
    return value


def write_scalar(value: object) -> str:
    """Write a value so that a `key=value` option is read as this value again."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=math.inf)
    text = text.removesuffix("\n").removesuffix("\n...")
    return text if _read_scalar(text) == value else json.dumps(value, ensure_ascii=False)


def _parse_overrides(value: object) -> object:
    """Turn `key=value` words into a mapping, each value read as YAML reads it (`true`, `0.5`, `[1, 2]`)."""
    if not isinstance(value, (list, tuple)):
        return value
    overrides = {}
    for item in value:
        key, separator, text = str(item).partition("=")
        if not separator or not key:
            raise ValueError(f"{item!r} is not of the form key=value")
        try:
            overrides[key] = _read_scalar(text)
        except yaml.YAMLError as error:
            raise ValueError(f"the value in {item!r} cannot be read as YAML") from error
    return overrides


def option(default: Any, help: str, *, panel: str | None = None, short: str | None = None) -> Any:
    """Declare a field that is also an option; `panel` names the help panel of the rarely used ones."""
    return Field(default, description=help, json_schema_extra={"panel": panel, "short": short})


MODEL_DATA = "Model and data"
RARE = "Rarely needed"
OUTPUT = "Output"


class ExperimentConfig(BaseModel):
    """What decides the numbers. Two runs with equal values of these on one machine give equal records."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str = option("tiny:gemma3", "a stand-in tiny:TYPE, a folder written by save_pretrained, or a hub id")
    revision: str | None = option(None, "branch, tag or commit of a hub model", panel=MODEL_DATA)
    random_init: bool = option(False, "take the config alone and random weights", panel=MODEL_DATA)
    model_class: str | None = option(None, "build the model with this class, package.module:Class", panel=MODEL_DATA)
    task: str | None = option(
        None,
        "build the head of this task, such as token-classification (default: the class that was saved)",
        panel=MODEL_DATA,
    )
    trust_remote_code: bool = option(
        False, "run Python from the model's repository; needs a pinned --revision", panel=MODEL_DATA
    )
    dataset: str | None = option(
        None, "a .txt, .jsonl, .json, .csv or .parquet file, or a datasets id (default: English text of Python's own)"
    )
    dataset_config: str | None = option(None, "configuration of a datasets id", panel=MODEL_DATA)
    split: str = option("train", "split of a datasets id", panel=MODEL_DATA)
    text_column: str = option("text", "column that holds the text", panel=MODEL_DATA)
    packing: bool = option(False, "concatenate the text and cut it at max_length", panel=MODEL_DATA)
    gradient_accumulation_steps: Annotated[tuple[int, ...], BeforeValidator(_split_commas)] = option(
        (1, 2, 4, 8), "accumulation steps to compare", short="-k"
    )
    loss_kwargs: Annotated[tuple[Flag, ...], BeforeValidator(_split_commas)] = option(
        (Flag.ON, Flag.OFF), "values of model_accepts_loss_kwargs to try"
    )
    effective_batch_size: int | None = option(None, "rows per optimizer step, the same for every k (default: 16)")
    per_device_train_batch_size: int | None = option(
        None, "rows per micro-batch instead; the effective batch then grows with k"
    )
    max_steps: int = option(8, "optimizer steps per pass")
    max_length: int = option(128, "longest row, in tokens")
    learning_rate: float | None = option(None, "(default: 1e-3 for random weights, 5e-5 otherwise)")
    optim: str = option("adamw_torch", "the Trainer's optim", panel=RARE)
    max_grad_norm: float = option(1.0, "clip the gradient norm at this; 0 never clips", panel=RARE)
    label_smoothing_factor: float = option(0.0, "the Trainer's label smoothing", panel=RARE)
    compute_loss_func: str | None = option(None, "the Trainer's compute_loss_func, package.module:function", panel=RARE)
    trainer_class: str | None = option(
        None, "train under this subclass of the Trainer, package.module:Class", panel=MODEL_DATA
    )
    short_last_step: bool = option(
        False, "also train on the tail of an epoch, a step of fewer than k micro-batches", panel=RARE
    )
    seed: int = option(0, "seed of weights, data order and Trainer", panel=RARE)
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = option("float32", "dtype of the weights", panel=RARE)
    gradients: bool = option(
        True, "compare the gradient with those of the repeated micro-batches; costs a backward for each", panel=RARE
    )
    bf16: bool = option(False, "train under bfloat16 autocast", panel=RARE)
    fp16: bool = option(False, "train under float16 autocast", panel=RARE)
    device: str = option("auto", "auto, cpu, cuda or mps", panel=RARE)
    config_override: Annotated[dict[str, Any], BeforeValidator(_parse_overrides)] = option(
        {}, "key=value in the model's config (text_config.x for nested); repeatable", panel=RARE
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_lists()
        self._check_ranges()
        self._check_combinations()
        self._check_batch()
        return self

    def _check_combinations(self) -> None:
        if self.bf16 and self.fp16:
            raise ValueError("bf16 and fp16 exclude each other")
        for name in ("model_class", "trainer_class", "compute_loss_func"):
            value = getattr(self, name)
            if value is not None and not re.fullmatch(OBJECT_NAME, value):
                raise ValueError(f"{name} is {value!r}; it must be of the form package.module:name")
        if self.short_last_step and max(self.gradient_accumulation_steps) == 1:
            raise ValueError("short_last_step needs gradient_accumulation_steps above 1")

    def _check_lists(self) -> None:
        for name in ("gradient_accumulation_steps", "loss_kwargs"):
            values = getattr(self, name)
            if not values:
                raise ValueError(f"{name} is empty")
            if len(set(values)) != len(values):
                raise ValueError(f"{name} names a value twice: {', '.join(map(str, values))}")
        if min(self.gradient_accumulation_steps) < 1:
            raise ValueError(
                f"gradient_accumulation_steps is {min(self.gradient_accumulation_steps)}; it must be at least 1"
            )

    def _check_ranges(self) -> None:
        least = {"effective_batch_size": 1, "per_device_train_batch_size": 1, "max_steps": 1, "max_length": 8}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise ValueError(f"{name} is {value}; it must be at least {minimum}")
        wrong = {
            ("max_grad_norm", "not be negative; 0 never clips"): self.max_grad_norm < 0,
            ("label_smoothing_factor", "be at least 0 and below 1"): not 0 <= self.label_smoothing_factor < 1,
            ("learning_rate", "be above 0"): self.learning_rate is not None and self.learning_rate <= 0,
            ("seed", "be at least 0 and below 2**32"): not 0 <= self.seed < 2**32,
        }
        for (name, demand), holds in wrong.items():
            if holds:
                raise ValueError(f"{name} is {getattr(self, name)}; it must {demand}")

    def _check_batch(self) -> None:
        if self.per_device_train_batch_size is not None:
            if self.effective_batch_size is not None:
                raise ValueError("effective_batch_size and per_device_train_batch_size exclude each other")
            return
        rows = self.effective_batch_size or DEFAULT_EFFECTIVE_BATCH_SIZE
        bad = [k for k in self.gradient_accumulation_steps if rows % k]
        if bad:
            raise ValueError(
                f"effective_batch_size {rows} cannot be divided by gradient_accumulation_steps "
                f"{', '.join(map(str, bad))}"
            )

    def rows_per_step(self, accumulation_steps: int) -> int:
        """Return the effective batch, in rows, of the pass at k = `accumulation_steps`."""
        return self.micro_batch_size(accumulation_steps) * accumulation_steps

    def micro_batch_size(self, accumulation_steps: int) -> int:
        """Return the rows of one micro-batch of the pass at k = `accumulation_steps`."""
        if self.per_device_train_batch_size is not None:
            return self.per_device_train_batch_size
        return (self.effective_batch_size or DEFAULT_EFFECTIVE_BATCH_SIZE) // accumulation_steps

    @property
    def num_rows(self) -> int:
        """Rows that the largest pass trains on."""
        return self.max_steps * max(self.rows_per_step(k) for k in self.gradient_accumulation_steps)


class RunConfig(ExperimentConfig):
    """`ExperimentConfig` and what becomes of the result."""

    out: Path | None = option(None, "folder for record.json and loss.png", panel=OUTPUT)
    force: bool = option(False, "replace the record in the folder", panel=OUTPUT)
    resume: bool = option(False, "go on with the record in the folder; redo only what is missing", panel=OUTPUT)
    json_output: bool = Field(
        False, alias="json", description="print the analysis as JSON on stdout", json_schema_extra={"panel": OUTPUT}
    )
    verbose: bool = option(False, "print the table also where all is well", panel=OUTPUT, short="-v")
    quiet: bool = option(False, "no progress; print the verdict alone", panel=OUTPUT)
    strict: bool = option(False, "a warning fails too: exit 1", panel=OUTPUT)
    exit_zero: bool = option(False, "exit 0 whatever the verdict", panel=OUTPUT)

    @model_validator(mode="after")
    def _check_output(self) -> Self:
        if self.force and self.resume:
            raise ValueError("force and resume exclude each other")
        if (self.resume or self.force) and self.out is None:
            raise ValueError(f"{'resume' if self.resume else 'force'} needs out: the folder of the earlier run")
        return self

    def experiment(self) -> ExperimentConfig:
        """Return the part that decides the numbers."""
        return ExperimentConfig(**{name: getattr(self, name) for name in ExperimentConfig.model_fields})


def load_config(path: Path | None, flags: Mapping[str, Any]) -> RunConfig:
    """Merge a YAML file and flags over the defaults.

    Args:
        path: YAML file with a mapping of option names, or None.
        flags: Options given on the command line; None means not given.

    Raises:
        ConfigError: The file or a value in it cannot be used.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    values = _read_yaml(path) if path is not None else {}
    # A flag of an exclusive pair replaces either of the pair in the file.
    pair = {"effective_batch_size", "per_device_train_batch_size"}
    if pair & given.keys():
        values = {name: value for name, value in values.items() if name not in pair}
    try:
        return RunConfig.model_validate({**values, **given})
    except ValidationError as error:
        raise _as_config_error(error) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    example = "write one option a line, such as  max_steps: 8"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"The configuration file {path} cannot be read: {error.strerror}.",
            why="--config names a YAML file with the options of the run.",
            fix="check the path and its permissions",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = one_line(error)
        raise ConfigError(f"{path} is not valid YAML: {problem}.", why="No option can be read.", fix=example) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} holds a {type(content).__name__}, not a mapping of options.",
            why="Options are read by name.",
            fix=example,
        )
    return {str(key).replace("-", "_"): value for key, value in content.items()}


def _as_config_error(error: ValidationError) -> ConfigError:
    """Say the first problem in words; pydantic's own listing speaks to programmers."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        names = [field.alias or key for key, field in RunConfig.model_fields.items()]
        close = difflib.get_close_matches(name, names, n=1)
        return ConfigError(
            f"There is no option {name!r}.",
            why="An option that is not understood would silently change nothing.",
            fix=f"did you mean {close[0]!r}?" if close else "see  gacheck run --help",
        )
    problem = first["msg"].removeprefix("Value error, ")
    said = f"{name.split('.')[0]}: {problem}" if name else problem
    value = f" (given: {first['input']!r})" if name else ""
    return ConfigError(f"{said}{value}.", why="The run cannot be planned with it.", fix="see  gacheck run --help")
