"""Whether two trainings can be compared: what decides the codes and ratios has to be the same in both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gacheck.record.attach import AttachRecord
from gacheck.record.kinds import AnyTrainingRecord
from gacheck.record.run import RunRecord

# What one compares: whose code trains which weights; and what changes nothing of the loss itself.
# Every other option has to be the same.
FREE = frozenset(
    {"model", "revision", "trust_remote_code", "model_class", "trainer_class", "compute_loss_func", "device"}
    | {"learning_rate", "optim", "max_grad_norm", "seed", "low_memory"}
)
FREE_OF_ATTACHED = FREE | {"loss_kwargs", "chosen_loss_kwargs", "average_tokens_across_devices"}

# Said in one of several ways, or not at all: what follows from them is compared.
_DERIVED = frozenset({"task", "effective_batch_size", "per_device_train_batch_size", "dtype", "bf16", "fp16"})

# What rows come of. Where the rows are the same it does not matter how they were named.
_ROWS = frozenset({"dataset", "dataset_config", "split", "text_column", "packing", "max_length"})


@dataclass(frozen=True)
class Difference:
    """Something that is not the same in two records.

    Attributes:
        name: The option, as it is typed with `_` for `-`, or the fact.
        a: Its value in the first.
        b: The same of the second.
    """

    name: str
    a: str
    b: str


def unlike(a: AnyTrainingRecord, b: AnyTrainingRecord, *, same_model: bool = False) -> tuple[Difference, ...]:
    """Return what keeps two trainings of one kind from being compared; nothing where they can be.

    Args:
        a: The first.
        b: The second.
        same_model: They are of one class by name, so that facts of the model are what is compared.
    """
    first, second = ({**_decisive(each), **({} if same_model else _model(each))} for each in (a, b))
    found = _differences(first, second)
    return tuple(each for each in found if each.name not in _ROWS) if rows_of(a) == rows_of(b) else found


def compared(a: AnyTrainingRecord, b: AnyTrainingRecord) -> tuple[Difference, ...]:
    """Return the options that may differ, and do."""
    return _differences(*({name: value for name, value in _options(r).items() if name in _free(r)} for r in (a, b)))


def _differences(a: Mapping[str, object], b: Mapping[str, object]) -> tuple[Difference, ...]:
    names = [name for name in dict.fromkeys((*a, *b)) if a.get(name) != b.get(name)]
    return tuple(Difference(name, _word(a.get(name)), _word(b.get(name))) for name in names)


def rows_of(record: AnyTrainingRecord) -> object:
    """Return what stands for the rows that were fed: equal where they were the same, in the same order."""
    if isinstance(record, RunRecord):
        return record.data.fingerprint
    steps = record.passes[0].steps[:1] if record.passes else ()
    return tuple(m.observation.rows for step in steps for m in step.micro_batches if m.observation is not None)


def _free(record: AnyTrainingRecord) -> frozenset[str]:
    return FREE_OF_ATTACHED if isinstance(record, AttachRecord) else FREE


def _options(record: AnyTrainingRecord) -> Mapping[str, object]:
    options = {name: getattr(record.setup, name) for name in type(record.setup).model_fields}
    return {**options, "learning_rate": record.learning_rate} if isinstance(record, RunRecord) else options


def _decisive(record: AnyTrainingRecord) -> Mapping[str, object]:
    hardware = record.hardware
    facts = {"dtype": hardware.dtype, "mixed precision": hardware.autocast, "processes": hardware.world_size}
    options = {name: value for name, value in _options(record).items() if name not in _free(record)}
    if isinstance(record, AttachRecord):
        return options | facts
    config = record.config
    options = {name: value for name, value in options.items() if name not in _DERIVED}
    # A run is all its passes, in whatever order.
    options |= {
        "gradient_accumulation_steps": sorted(config.gradient_accumulation_steps),
        "loss_kwargs": sorted(config.loss_kwargs),
    }
    size = config.per_device_train_batch_size
    rows = {"rows per step": config.effective_rows} if size is None else {"rows per micro-batch": size}
    return options | rows | facts


def _model(record: AnyTrainingRecord) -> Mapping[str, object]:
    model = record.model
    return {
        "task": model.task,
        "model type": model.model_type,
        "stand-in": model.stand_in,
        "random weights": model.random_weights,
        "adapter": model.adapter,
    }


def _word(value: object) -> str:
    """Write a value as options are typed."""
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={each}" for key, each in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)
