"""What to measure and how to speak of it: defaults < YAML < flags.

Every field of `RunConfig` is at once a YAML key, a command-line option (see `commands/options.py`) and, for
`ExperimentConfig`, part of the record. Options that the Trainer has too carry the Trainer's own names.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gacheck.errors import ConfigError
from gacheck.misuse import K, Misuse, Spelling, config_error, flag_of
from gacheck.option_file import read_options, read_yaml
from gacheck.rules.facts import Flag

# Of the effective batch that nobody chose: at least so many rows, and not more than one can mean.
LEAST_ROWS = 16
MOST_ROWS = 1024
# Of the longest pass; more is a slip of the pen, and would be held in memory.
MOST_ROWS_OF_A_PASS = 1_000_000
MOST_SECONDS = 10_000_000
"""Of a time limit: a clock takes no more than some such number."""
USER_OBJECTS = ("model_class", "trainer_class", "compute_loss_func")
"""Options that name a class or a function of the user's."""
OBJECT_NAME = r"[\w.]+:\w+"
"""A class or a function of the user's: package.module:name."""
STAND_IN_PREFIX = "tiny:"


def _split_commas(value: object) -> object:
    """Accept `1,2,4` from a flag and a bare YAML scalar where a list is meant; YAML reads `on` as a boolean."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    items = value if isinstance(value, (list, tuple)) else [value]
    return [_as_flag(item) for item in items]


def _as_flag(value: object) -> object:
    """Accept the booleans that YAML reads `on` and `off` as."""
    return Flag.of(value) if isinstance(value, bool) else value


def _read_scalar(text: str) -> object:
    """Read a value as YAML does, and `1e-6`, which YAML 1.1 takes for a word, as the number that it is."""
    value = read_yaml(text)
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
            raise Misuse(
                f"{{config_override}} takes key=value, not {item!r}.",
                why="A field of the model's config is set by its name.",
                fix="write, for example,  {config_override=num_hidden_layers=2}",
            )
        try:
            overrides[key] = _read_scalar(text)
        except yaml.YAMLError:
            raise Misuse(
                f"{{config_override}}: the value in {item!r} cannot be read as YAML.",
                why="Numbers, true, false and lists are written as in YAML.",
                fix="write, for example,  {config_override=num_hidden_layers=2}; put quotes around text",
            ) from None
    return overrides


_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32"}
_DTYPES |= {"fp64": "float64", "double": "float64"}


def _name_dtype(value: object) -> object:
    """Accept torch's other names of a dtype, and those that the Trainer's options have."""
    if not isinstance(value, str):
        return value
    name = value.strip().lower().removeprefix("torch.")
    return _DTYPES.get(name, name)


def option(default: Any, help: str, *, panel: str | None = None, short: str | None = None) -> Any:
    """Declare a field that is also an option; `panel` names the help panel of the rarely used ones."""
    return Field(default, description=help, json_schema_extra={"panel": panel, "short": short})


MODEL_DATA = "Model and data"
RARE = "Rarely needed"
OUTPUT = "Output"


class ExperimentConfig(BaseModel):
    """What decides the numbers. Two runs with equal values of these on one machine give equal records."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str = option(
        "tiny:gemma3", "a stand-in tiny:TYPE or tiny:CLASS, a folder written by save_pretrained, or a hub id"
    )
    revision: str | None = option(None, "branch, tag or commit of a hub model", panel=MODEL_DATA)
    random_init: bool = option(False, "take the config alone and random weights", panel=MODEL_DATA)
    tiny: bool = option(False, "take a small stand-in of the folder's or hub id's own config", panel=MODEL_DATA)
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
    effective_batch_size: int | None = option(
        None, "rows per optimizer step, the same for every k (default: the smallest multiple of all k from 16 on)"
    )
    per_device_train_batch_size: int | None = option(
        None, "rows per micro-batch instead; the effective batch then grows with k"
    )
    max_steps: int = option(8, "optimizer steps per pass")
    max_length: int = option(128, "longest row, in tokens")
    processes: int = option(
        1, "processes that train together, DDP: started here, or by torchrun or accelerate launch", panel=RARE
    )
    shard: Literal["none", "fsdp", "tp"] = option(
        "none",
        "spread the weights over the processes instead of a whole model in each: by FSDP2, or by tensor parallelism, "
        "where all have the same rows",
        panel=RARE,
    )
    average_tokens: Annotated[Flag | None, BeforeValidator(_as_flag)] = option(
        None,
        "the Trainer's average_tokens_across_devices, on or off: whether all processes share one count of tokens "
        "(default: the Trainer's)",
        panel=RARE,
    )
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
    dtype: Annotated[Literal["float32", "bfloat16", "float16", "float64"], BeforeValidator(_name_dtype)] = option(
        "float32", "dtype of the weights", panel=RARE
    )
    gradients: bool = option(
        True, "compare the gradient with those of the repeated micro-batches; costs a backward for each", panel=RARE
    )
    low_memory: bool = option(
        False, "keep the weights that every pass begins with in a temporary file, not in memory", panel=RARE
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
            raise _exclude_each_other("bf16", "fp16", "Mixed precision is in one of the two.")
        if self.tiny and self.model.startswith(STAND_IN_PREFIX):
            raise Misuse(
                f"{{tiny}} goes with a folder or a hub id; {{model={self.model}}} is tiny already.",
                why="It makes a stand-in of a model's own config.",
                fix="leave {tiny} out, or name the model, as in  {tiny} {model=organisation/name}",
            )
        for name in USER_OBJECTS:
            value = getattr(self, name)
            if value is not None and not re.fullmatch(OBJECT_NAME, value):
                raise Misuse(
                    f"{{{name}={value}}} is not of the form package.module:name.",
                    why="Classes and functions of your own are imported by the module that they stand in.",
                    fix=f"write, for example,  {{{name}=train:{_object_in(value)}}}  for what train.py defines",
                )
        if self.shard != "none" and self.processes == 1:
            raise Misuse(
                f"{{shard={self.shard}}} goes with several processes; this is a run of one.",
                why="There is nothing to spread the weights over.",
                fix=f"leave it out, or add  {{processes=2}}  to  {{shard={self.shard}}}",
            )
        if self.average_tokens is not None and self.processes == 1:
            raise Misuse(
                f"{{average_tokens={self.average_tokens}}} goes with several processes; this is a run of one.",
                why="In one process there is nothing to average.",
                fix=f"leave it out, or add  {{processes=2}}  to  {{average_tokens={self.average_tokens}}}",
            )
        if self.short_last_step and max(self.gradient_accumulation_steps) == 1:
            raise Misuse(
                "{short_last_step} needs more than one micro-batch a step; {gradient_accumulation_steps=1} has one.",
                why="A step of one micro-batch cannot be shorter.",
                fix="add a larger k, such as  {gradient_accumulation_steps=1,4}",
            )

    def _check_lists(self) -> None:
        for name in (K, "loss_kwargs"):
            values = getattr(self, name)
            default = ",".join(map(str, type(self).model_fields[name].default))
            if not values:
                raise Misuse(
                    f"{{{name}}} is empty.",
                    why="There would be no pass.",
                    fix=f"write, for example,  {{{name}={default}}}",
                )
            if len(set(values)) != len(values):
                raise Misuse(
                    f"{{{name}={','.join(map(str, values))}}} names a value twice.",
                    why="The same pass twice says nothing new.",
                    fix=f"write  {{{name}={','.join(map(str, dict.fromkeys(values)))}}}",
                )
        if min(self.gradient_accumulation_steps) < 1:
            raise Misuse(
                f"{{{K}={','.join(map(str, self.gradient_accumulation_steps))}}}: "
                f"{min(self.gradient_accumulation_steps)} is below 1.",
                why="A step has at least one micro-batch.",
                fix=f"write, for example,  {{{K}=1,2,4,8}}",
            )

    def _check_ranges(self) -> None:
        least = {
            "processes": 1,
            "effective_batch_size": 1,
            "per_device_train_batch_size": 1,
            "max_steps": 1,
            "max_length": 8,
        }
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise _out_of_range(name, value, f"be at least {minimum}", _WORKS.get(name, str(minimum)))
        wrong = {
            ("max_grad_norm", "not be negative; 0 never clips", "1.0"): self.max_grad_norm < 0,
            ("label_smoothing_factor", "be at least 0 and below 1", "0.1"): not 0 <= self.label_smoothing_factor < 1,
            ("learning_rate", "be above 0", "0.001"): self.learning_rate is not None and self.learning_rate <= 0,
            ("seed", "be at least 0 and below 2**32", "0"): not 0 <= self.seed < 2**32,
        }
        for (name, demand, works), holds in wrong.items():
            if holds:
                raise _out_of_range(name, getattr(self, name), demand, works)

    def _check_batch(self) -> None:
        if self.per_device_train_batch_size is not None and self.effective_batch_size is not None:
            raise _exclude_each_other(
                "effective_batch_size", "per_device_train_batch_size", "The second times k is the first."
            )
        ks = self.gradient_accumulation_steps
        if self.per_device_train_batch_size is None:
            bad = [k for k in ks if self.effective_rows % (k * self.row_sets)]
            if bad:
                raise _indivisible(self.effective_rows, bad, self.row_sets, self._multiple)
            if self.effective_batch_size is None and self.effective_rows > MOST_ROWS:
                raise Misuse(
                    f"{{{K}={','.join(map(str, ks))}}} needs {self.effective_rows} rows a step: "
                    "no smaller number can be divided by every k.",
                    why="The effective batch is the same at every k, so that the losses can be compared.",
                    fix="name fewer or smaller k, or let the batch grow with k:  {per_device_train_batch_size=1}",
                )
        if self.num_rows > MOST_ROWS_OF_A_PASS:
            rows = self.num_rows // self.max_steps
            name = "effective_batch_size" if self.per_device_train_batch_size is None else "per_device_train_batch_size"
            works = f"max_steps={min(8, MOST_ROWS_OF_A_PASS // rows)}"
            raise Misuse(
                f"{{max_steps={self.max_steps}}} and {rows} rows a step are {self.num_rows} rows in a pass; "
                f"the most is {MOST_ROWS_OF_A_PASS}.",
                why="All rows are made before the first pass, and the first steps decide the verdict.",
                fix=f"write, for example,  {{{works if rows <= MOST_ROWS_OF_A_PASS else f'{name}={self._multiple}'}}}",
            )

    @property
    def effective_rows(self) -> int:
        """Rows per optimizer step where all k have the same: as given, or the smallest multiple of all k from 16 on."""
        return self.effective_batch_size or self._multiple * -(-LEAST_ROWS // self._multiple)

    @property
    def _multiple(self) -> int:
        """Rows that can be divided among the processes at every k."""
        return math.lcm(*self.gradient_accumulation_steps) * self.row_sets

    @property
    def not_transformers_own(self) -> tuple[str, ...]:
        """The options, as they are typed, that put something else in the place of what transformers has."""
        named = [f"{flag_of(name)} {value}" for name in USER_OBJECTS if (value := getattr(self, name)) is not None]
        return (*named, *(f"{flag_of('config_override')} {key}={value}" for key, value in self.config_override.items()))

    @property
    def row_sets(self) -> int:
        """Among how many the rows are divided: processes, but for those of tensor parallelism, which have the same."""
        return 1 if self.shard == "tp" else self.processes

    def rows_per_step(self, accumulation_steps: int) -> int:
        """Return the effective batch, in rows, of the pass at k = `accumulation_steps`."""
        return self.micro_batch_size(accumulation_steps) * accumulation_steps * self.row_sets

    def micro_batch_size(self, accumulation_steps: int) -> int:
        """Return the rows of one micro-batch of the pass at k = `accumulation_steps`."""
        if self.per_device_train_batch_size is not None:
            return self.per_device_train_batch_size
        return self.effective_rows // (accumulation_steps * self.row_sets)

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
    pass_timeout: float | None = option(
        None, "seconds after which a pass that has not ended has failed (default: no limit)", panel=RARE
    )
    isolate: bool = option(
        False, "train in a child: a model that crashes, exits or eats memory is a failed pass", panel=RARE
    )
    memory_limit: float | None = option(
        None, "GiB that the child may take beyond the libraries; goes with isolate (default: what is free)", panel=RARE
    )
    strict: bool = option(False, "a warning fails too: exit 1", panel=OUTPUT)
    exit_zero: bool = option(False, "exit 0 whatever the verdict", panel=OUTPUT)

    @model_validator(mode="after")
    def _check_output(self) -> Self:
        if self.pass_timeout is not None and not 0 < self.pass_timeout <= MOST_SECONDS:
            raise _out_of_range("pass_timeout", self.pass_timeout, f"be above 0 and at most {MOST_SECONDS}", "600")
        if self.force and self.resume:
            raise _exclude_each_other("force", "resume", "One replaces the record in the folder, the other goes on.")
        if self.isolate and self.processes > 1:
            raise _exclude_each_other("isolate", "processes", "Each of several processes is one by itself already.")
        if self.memory_limit is not None and not self.isolate:
            raise Misuse(
                "{memory_limit} goes with {isolate}.",
                why="The limit is of the child that the passes run in.",
                fix=f"write  {{isolate}} {{memory_limit={self.memory_limit:g}}}",
            )
        if self.memory_limit is not None and self.memory_limit <= 0:
            raise _out_of_range("memory_limit", self.memory_limit, "be above 0", "4")
        if (self.resume or self.force) and self.out is None:
            name = "resume" if self.resume else "force"
            raise Misuse(
                f"{{{name}}} goes with {{out}}, the folder of the earlier run.",
                why="Without it a new folder is made, in which there is nothing to go on with or to replace.",
                fix=f"write  {{{name}}} {{out=FOLDER}},  with a folder below gacheck-runs/ for FOLDER",
            )
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
    for name in (name for name, value in given.items() if value == "" and name not in (K, "loss_kwargs")):
        raise ConfigError(
            f"{flag_of(name)} is empty.",
            why="It would be taken for something that was not meant.",
            fix=f"write a value after {flag_of(name)}, or leave it out",
        )
    content = read_options(path) if path is not None else {}
    keys = _fields_of(content, path)
    values = {name: content[key] for name, key in keys.items()}
    # A flag of an exclusive pair replaces either of the pair in the file.
    pair = {"effective_batch_size", "per_device_train_batch_size"}
    if pair & given.keys():
        values = {name: value for name, value in values.items() if name not in pair}
    spelling = Spelling(path, {name: key for name, key in keys.items() if name in values and name not in given})
    try:
        return RunConfig.model_validate({**values, **given})
    except ValidationError as error:
        raise config_error(error, RunConfig, spelling) from None


def make_experiment(**values: Any) -> ExperimentConfig:
    """Make the options of a check that is called in code.

    Raises:
        ConfigError: A value cannot be used.
    """
    try:
        return ExperimentConfig.model_validate(values)
    except ValidationError as error:
        raise config_error(error, ExperimentConfig, Spelling.in_code()) from None


def _fields_of(content: Mapping[str, Any], path: Path | None) -> dict[str, str]:
    """Return the keys of a file by the options that they mean: with - or _, and k as on the command line."""
    keys: dict[str, str] = {}
    for key in content:
        name = key.replace("-", "_")
        name = K if name == "k" else name
        if name in keys:
            raise ConfigError(
                f"{path} has one option twice, as {keys[name]!r} and {key!r}.",
                why="Only one of the two values can be meant.",
                fix=f"delete {keys[name]!r} or {key!r}",
            )
        keys[name] = key
    return keys


def _exclude_each_other(one: str, other: str, why: str) -> Misuse:
    return Misuse(f"{{{one}}} and {{{other}}} exclude each other.", why=why, fix=f"leave out {{{one}}} or {{{other}}}")


_WORKS = {"processes": "2", "effective_batch_size": "16", "max_steps": "8", "max_length": "128"}


def _out_of_range(name: str, value: object, demand: str, works: str) -> Misuse:
    return Misuse(
        f"{{{name}={value}}} is out of range: it must {demand}.",
        why="No training can be done with it.",
        fix=f"write, for example,  {{{name}={works}}}",
    )


def _indivisible(rows: int, bad: list[int], processes: int, multiple: int) -> Misuse:
    works = multiple * -(-rows // multiple)
    return Misuse(
        f"{{effective_batch_size={rows}}} cannot be divided by k = {', '.join(map(str, bad))}"
        + (f" micro-batches in each of {processes} processes." if processes > 1 else "."),
        why="A step of k micro-batches, each of the same number of rows, has a multiple of k rows.",
        fix=f"write  {{effective_batch_size={works}}}, or any other multiple of {multiple}",
    )


def _object_in(value: str) -> str:
    """Return what may be meant for the object's name in something that is no such path."""
    return re.sub(r"\W", "", value.removesuffix(".py").rpartition(".")[2]) or "Mine"
