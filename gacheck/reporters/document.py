"""The shape of the analysis as JSON: the contract for other programs. Keys are only ever added.

Numbers that are not finite are null; so is what was not measured. The JSON Schema that is shipped is made of these
types.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from gacheck.core.verdict import Affects
from gacheck.rules.steps import Hypothesis
from gacheck.rules.table import Severity

OnOff = Literal["on", "off"]
Status = Literal["ok", "failed", "skipped"]

# A word that Python keeps for itself.
_Class = TypedDict("_Class", {"class": str})


class Model(_Class):
    """The model; `class` is that of its Python object."""

    name: str
    """As given on the command line."""
    model_type: str
    num_parameters: int
    task: str
    stand_in: bool
    """Whether it is `tiny:`."""
    random_weights: bool | None
    """null if attached."""


class Environment(TypedDict):
    """Versions and hardware; a package that is not installed is absent."""

    gacheck: str
    python: str
    platform: str
    torch: NotRequired[str]
    transformers: NotRequired[str]
    accelerate: NotRequired[str]
    datasets: NotRequired[str]
    tokenizers: NotRequired[str]
    safetensors: NotRequired[str]
    peft: NotRequired[str]
    trl: NotRequired[str]
    llamafactory: NotRequired[str]
    axolotl: NotRequired[str]
    device: str
    device_name: str
    dtype: str
    autocast: str | None
    """The dtype of mixed precision."""
    world_size: int
    """The number of processes."""
    average_tokens_across_devices: bool | None
    """The Trainer's argument, of a run; null in one process."""


class LossKwargs(TypedDict):
    """The Trainer's `model_accepts_loss_kwargs`."""

    declared: bool | None
    """The model's own `accepts_loss_kwargs`; null where it declares nothing."""
    inferred: bool
    """Whether the model's forward takes `**kwargs`."""
    auto: bool | None
    """What the Trainer chooses itself; of an attached training what is in force."""
    used_num_items_in_batch: bool | None
    """Whether the model's own loss changes with `num_items_in_batch`."""


class Tolerance(TypedDict):
    """What still counts as equal, relative."""

    loss: float | None
    gradient: float | None


class FirstStep(TypedDict):
    """The first judged step of a pass; losses in nats per target token."""

    reported_loss: float | None
    """What the Trainer would log, unrounded."""
    reference_loss: float | None
    """The right answer."""
    ratio: float | None
    """The reported loss over the right one."""
    grad_norm: float | None
    """Before clipping."""
    grad_norm_ratio: float | None
    """Over that of the right gradient."""
    grad_cosine: float | None
    """To the right gradient."""
    worst_parameter: str | None
    """The parameter that is furthest off; null where none is."""


class Gradient(TypedDict):
    """The gradient of the first judged step against that of the rule that explains the losses."""

    rule: str | None
    """The rule that explains the whole gradient."""
    norm_ratio: float | None
    cosine: float | None
    worst_parameter: str | None
    worst_relative_error: float | None


class Match(TypedDict):
    """How well the rule fits the losses."""

    relative_error: float | None
    runner_up: str | None
    """The rule that fits next best."""
    runner_up_error: float | None
    separation: float | None
    """The runner-up's error over the larger of own error and tolerance."""
    backward_rule: str | None
    """The rule that explains what each micro-batch adds to the gradients."""
    gradient: Gradient | None


class Step(TypedDict):
    """An optimizer step."""

    step: int
    reported_loss: float | None
    reference_loss: float | None
    ratio: float | None
    grad_norm: float | None


class Outcome(TypedDict):
    """Which pass, and how it ended."""

    id: str
    accumulation_steps: int
    """k"""
    loss_kwargs: OnOff
    status: Status
    error: str | None
    nonfinite: bool
    """Whether a loss or a gradient was not finite."""


class Pass(Outcome):
    """One short training at one (k, flag); of any status it has the same keys."""

    first_step: FirstStep
    objective: Hypothesis | None
    """What the training means to minimise."""
    rule: str | None
    """The rule that explains the losses."""
    match: Match
    steps: list[Step]
    heldout_loss: float | None


class TailStep(TypedDict):
    """A judged step of fewer than k micro-batches."""

    step: int
    num_micro_batches: int
    rule: str | None
    relative_error: float | None
    backward_rule: str | None


class TailPass(Outcome):
    """A pass at the end of an epoch."""

    steps: list[TailStep]


class Divergence(TypedDict):
    """Flag on against flag off at one k."""

    accumulation_steps: int
    first_step_on_minus_off: float | None
    first_step_ratio: float | None
    max_abs_on_minus_off: float | None


class Evaluation(TypedDict):
    """`eval_loss` of the same rows at two batch sizes."""

    num_rows: int
    loss_together: float | None
    """All in one batch."""
    loss_alone: float | None
    """Each in a batch of its own."""


class Attached(TypedDict):
    """What only an attached training has."""

    trainer_class: str | None
    """package.module:Class"""
    chosen_loss_kwargs: bool | None
    """The flag that the Trainer chose when it was made; null where that was not seen."""
    average_tokens_across_devices: bool | None
    num_processes_seen: int
    num_steps: int
    """Optimizer steps that were to be observed."""
    unseen: list[str]
    """What could not be seen, and why."""


class Remedy(TypedDict):
    """The line of code that fixes it, for each place where a user may be; null where none is known to."""

    trainer: str | None
    model_class: str | None
    llamafactory: str | None
    trl: str | None


class Verdict(TypedDict):
    """What is wrong, what it did and what fixes it. Its texts are for people: they may change."""

    code: str
    """The gravest of the codes; `gacheck explain` lists them all."""
    codes: list[str]
    severity: Severity
    auto_rule: str | None
    """The rule that explains the losses at the flag that the Trainer chooses itself."""
    affects: Affects
    better_flag: OnOff | None
    """The value of the flag that was tried and is better."""
    remaining: str | None
    """The code of what is still wrong at that value."""
    summary: str
    cause: str
    certainty: str
    """How well the rule fits, in numbers."""
    compared: str
    """What was held against the right answer."""
    impact: str
    fix: str
    notes: list[str]
    docs: str
    """Where more is said of the code."""
    remedy: Remedy


class Document(TypedDict):
    """The analysis of a run or of an attached training."""

    kind: Literal["run", "attach"]
    schema_version: int
    complete: bool
    """Whether all passes of the plan are recorded."""
    model: Model
    environment: Environment
    loss_kwargs: LossKwargs
    tolerance: Tolerance
    passes: list[Pass]
    """Every pass of the plan; those that failed or have yet to run among them."""
    tail_passes: list[TailPass]
    divergence: list[Divergence]
    evaluation: Evaluation | None
    """null where it was not asked for: of a training that does not evaluate, say."""
    attached: Attached | None
    """null of a run."""
    verdict: Verdict
