"""Repeats micro-batches of a training, to learn what each means by itself; it leaves no trace.

A replay asks the training's own code for the loss of one micro-batch at k = 1, and takes the gradient itself. Where
that loss is plain cross-entropy, our own arithmetic gives loss and gradient instead, so that nothing of the training's
is its own witness. A replay runs before the training's own forward and backward, from the same state, dropout too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from gacheck.rules.facts import CodeLocation
from gacheck.rules.task import CAUSAL_LM
from gacheck.watch.batches import fresh, named, prepared, repeats
from gacheck.watch.cross_entropy import (
    align,
    by_position,
    find_alignment,
    find_logits,
    may_score,
    measure,
    resolution,
    without_unscored_first,
)
from gacheck.watch.description import known_shift, runs_own_code
from gacheck.watch.loss_location import ScalarTrace
from gacheck.watch.mesh import Mesh
from gacheck.watch.micro_batch import alignments, labels_of
from gacheck.watch.own_loss import batch_samples, count_for, find_loss, own_count, own_mean, without_accumulation
from gacheck.watch.restoring import RandomState, books_kept, gradients_aside, hooks_muted, undisturbed, weights_kept
from gacheck.watch.sketches import Sketcher
from gacheck.watch.spread import apart, is_spread

# The training's own loss is plain cross-entropy where it differs from ours by roundings; another differs by more.
PLAIN_SLACK = 10.0
# … but for a loss in half a precision, which a few per cent cannot tell from another: of that the gradient tells.
COARSE = 1e-4
SAME_GRADIENT = 0.03
SAME_EXACTLY = 1e-3

# How the loss of several rows follows from those of each: nearly so, and no other way comes as near.
TIMES_K_FITS = 1e-3

# As it was when nobody watched what it is called on: a replay within a training's step is none of its backwards.
_take_gradients = torch.autograd.backward

# A scale that is no power of two, so that every product is rounded anew.
OTHER_SCALE = 0.37


SPREAD = ("fsdp", "deepspeed")
"""What spreads weights over processes, as the Trainer calls it."""


class NotRepeatableError(Exception):
    """A micro-batch cannot be repeated by itself; the message says why, in words for the verdict."""


@dataclass(frozen=True)
class CrossEntropy:
    """Plain cross-entropy of a micro-batch, by our own arithmetic.

    Attributes:
        sum_nats: Over its targets.
        noise_nats: By how much rounding may change the mean.
        row_mean_nats: The mean over the rows of each row's own mean.
        is_aligned: It is clear that the loss scores these targets.
        is_collated: The collator has shifted them, so that nothing else has to.
        targets_are_read: The model reads the targets at their own positions; None where that was not seen.
    """

    sum_nats: float
    num_targets: int
    row_mean_nats: float
    shifts: bool
    noise_nats: float
    is_aligned: bool = True
    is_collated: bool = False
    targets_are_read: bool | None = None

    @property
    def mean_nats(self) -> float:
        """Over its targets; 0 where it has none."""
        return self.sum_nats / self.num_targets if self.num_targets else 0.0

    @property
    def by_rows(self) -> CrossEntropy:
        """The same as a mean over rows instead of targets."""
        return replace(self, sum_nats=self.row_mean_nats * self.num_targets)


@dataclass(frozen=True)
class Replay:
    """What a micro-batch means by itself.

    Attributes:
        own_mean_nats: What the training's own code returns for it at k = 1.
        plain: Its cross-entropy; None where the training has no labels or its model gives no logits.
        is_plain: Whether the own loss is that.
        is_mean_over_rows: Whether it is cross-entropy too, as a mean over the rows.
        noise_nats: By how much rounding may change the own loss.
        own_count: What somebody's own code counts in it; None where the Trainer counts.
        plain_gradient: Sketch of the gradient of the mean cross-entropy; None without.
        own_gradient: Sketch of the gradient of the own loss; None where that is plain cross-entropy's.
    """

    own_mean_nats: float
    plain: CrossEntropy | None
    is_plain: bool
    is_mean_over_rows: bool
    noise_nats: float
    own_count: float | None
    plain_gradient: torch.Tensor | None
    own_gradient: torch.Tensor | None


@contextmanager
def aside(trainer: Any, start: RandomState | None = None) -> Iterator[None]:
    """Let a training's code run within the block as at k = 1, and leave everything as it was.

    Args:
        trainer: Whose code runs.
        start: What it draws from; by default the present state.
    """
    with untouched(trainer, start), without_accumulation(trainer), trainer.compute_loss_context_manager():
        # What is asked is not logged.
        vars(trainer)["log"] = _log_nothing
        yield


@contextmanager
def untouched(trainer: Any, start: RandomState | None = None) -> Iterator[None]:
    """Let a training's code run within the block, and leave everything as it was.

    Args:
        trainer: Whose code runs.
        start: What it draws from; by default the present state.
    """
    model = trainer.model
    with apart(model), ExitStack() as stack:
        for context in (undisturbed(model, start), books_kept(trainer), gradients_aside(model), hooks_muted(model)):
            stack.enter_context(context)
        if runs_own_code(trainer):
            stack.enter_context(weights_kept(model.parameters()))
        yield


def _log_nothing(*args: Any, **kwargs: Any) -> None:
    """Stand in for `Trainer.log`."""


@dataclass(frozen=True)
class Question:
    """What `compute_loss` is asked for a micro-batch.

    Attributes:
        inputs: As the data loader gives them.
        prepared: As `compute_loss` is given them; None to prepare them as the Trainer does.
        is_counted: It is handed `num_items_in_batch`.
        start: What is drawn from; None: the present state.
    """

    inputs: Any
    prepared: Any = None
    is_counted: bool = False
    start: RandomState | None = None


def replay(
    trainer: Any, question: Question, shifts: bool | None, sketcher: Sketcher | None, scale: float = 1.0
) -> Replay:
    """Repeat a micro-batch by itself.

    Args:
        trainer: Before it does the micro-batch.
        question: What is asked.
        shifts: Whether the loss shifts the labels; None to find it out.
        sketcher: Of its model; None to take no gradients.
        scale: Factor for the loss before backward, lest float16 underflow.

    Raises:
        NotRepeatableError: Its gradients cannot be taken here.
    """
    if sketcher is not None and any(getattr(trainer, f"is_{name}_enabled", False) for name in SPREAD):
        raise NotRepeatableError("the weights are spread over several processes, so no process can repeat a gradient")
    if is_spread(trainer.model):
        if shifts is None:
            raise NotRepeatableError("the weights are spread over several processes, and what is scored is not known")
        return _ask_together(trainer, question, sketcher, scale, shifts=shifts)
    asked = _ask(trainer, question, shifts, sketcher, scale)
    if asked.plain is None and shifts is None and question.is_counted and not _counts_shifted(trainer):
        # No logits tell whether the labels are shifted: the count is to be as the Trainer's own.
        return _ask(trainer, question, False, sketcher, scale)
    found = asked.plain.shifts if asked.plain is not None else None
    if asked.plain is None or found in (shifts, True):
        return asked
    # Code that was handed its count got one for the alignment that was assumed.
    again = _ask(trainer, question, found, sketcher, scale)
    if again.plain is None:
        return again
    first, plain = asked.plain, again.plain
    return replace(again, plain=replace(plain, is_aligned=first.is_aligned, targets_are_read=first.targets_are_read))


def _counts_shifted(trainer: Any) -> bool:
    """Whether a Trainer counts the labels that are left when they are shifted; older ones count all."""
    return bool(getattr(trainer, "_loss_shifts_labels", False))


def _ask(trainer: Any, question: Question, shifts: bool | None, sketcher: Sketcher | None, scale: float) -> Replay:
    with aside(trainer, question.start), torch.set_grad_enabled(sketcher is not None):
        known = known_shift(trainer.model, question.inputs, shifts)
        count, is_own = None, False
        if question.is_counted:
            count, is_own = own_count(trainer, question.inputs, shifts=known is not False)
        given = fresh(question.prepared)
        batch = prepared(trainer, question.inputs) if given is None else named(given)
        start = RandomState.now(trainer.model)
        labels, collated = labels_of(batch)
        dims = 3 if labels is None else labels.dim() + 1
        with _forwards_kept(trainer.model, dims) as kept:
            loss = own_mean(trainer, batch, shifts=known is not False, count=count)
        loss = loss.mean() if loss.numel() != 1 else loss
        counted = float(count) if is_own and count is not None else None
        logits, blur = _logits(trainer, kept.logits, batch, start, dims) if labels is not None else (None, 0.0)
        mean = float(loss.detach())
        if labels is None or logits is None or not may_score(logits, labels):
            return Replay(mean, None, False, False, 0.0, counted, None, _gradient(loss, sketcher, scale))
        if collated and _scores_the_unshifted(loss, logits, batch):
            labels, collated = batch[CAUSAL_LM.labels], False
        labels = without_unscored_first(loss, logits, labels)
        possible = alignments(labels, collated=collated, shifts=known)
        plain = replace(_cross_entropy(logits, labels, possible, loss, blur, kept.read), is_collated=collated)
        is_plain, is_coarse = _is_plain(mean, plain, loss.dtype), resolution(loss.dtype) > COARSE
        at_logits = _cross_entropy_gradient(logits, labels, plain, scale)
        allowed = SAME_GRADIENT if is_coarse else SAME_EXACTLY
        differs = is_plain and _differs_at_logits(loss * scale, logits, at_logits, allowed)
        takes_own = not is_plain or differs or is_coarse
        plain_gradient = _gradient_behind(logits, at_logits, sketcher, scale, keep_graph=takes_own)
        own_gradient = _gradient(loss, sketcher, scale) if takes_own else None
        if is_plain and is_coarse and plain_gradient is not None and own_gradient is not None:
            # A loss that was rounded so much can be another that happens to come out like it.
            off = float((own_gradient - plain_gradient).norm())
            is_plain = not differs and off <= SAME_GRADIENT * float(plain_gradient.norm())
            own_gradient = None if is_plain else own_gradient
        noise, by_rows = plain.noise_nats, not is_plain and _is_plain(mean, plain.by_rows, loss.dtype)
        if not is_plain and logits.dtype.itemsize < 4:
            # Code of its own may round in the precision of the logits, even where a wider loss comes out.
            rounded = torch.finfo(logits.dtype).eps / 2
            noise = max(noise, rounded * abs(mean))
            if counted and abs(mean * counted - plain.sum_nats) <= resolution(logits.dtype) * abs(plain.sum_nats):
                # It is cross-entropy over a count of its own, and has been rounded so.
                plain = replace(plain, noise_nats=max(plain.noise_nats, rounded * abs(plain.mean_nats)))
        return Replay(mean, plain, is_plain, by_rows, noise, counted, plain_gradient, own_gradient)


def _ask_together(trainer: Any, question: Question, sketcher: Sketcher | None, scale: float, *, shifts: bool) -> Replay:
    """Ask in all processes together: whatever a micro-batch is like, each does the same forwards and backwards."""
    mesh = Mesh(trainer)
    with aside(trainer, question.start), torch.set_grad_enabled(sketcher is not None):
        given = fresh(question.prepared)
        batch = prepared(trainer, question.inputs) if given is None else named(given)
        labels, collated = labels_of(batch)
        dims = 3 if labels is None else labels.dim() + 1
        with _forwards_kept(trainer.model, dims) as kept:
            loss = own_mean(trainer, batch, shifts=shifts).mean()
        if not kept.logits or labels is None:
            raise NotRepeatableError("the weights are spread over several processes, and there are no logits or labels")
        logits, mean = kept.logits[-1], float(loss.detach())
        own_gradient = _gradient_of_one(mesh, loss, logits, sketcher, scale, keep_graph=True)
        plain, plain_loss = None, None
        if may_score(logits, labels):
            possible = alignments(labels, collated=collated, shifts=shifts)[:1]
            plain = replace(_cross_entropy(logits, labels, possible, loss, 0.0, kept.read), is_collated=collated)
            plain_loss = _mean_cross_entropy(logits, labels, plain)
        plain_gradient = _gradient_of_one(mesh, plain_loss, logits, sketcher, scale)
        if plain is None:
            return Replay(mean, None, False, False, 0.0, None, None, own_gradient)
        is_plain = _is_plain(mean, plain, loss.dtype)
        if own_gradient is not None and plain_gradient is not None:
            off = float((own_gradient - plain_gradient).norm())
            allowed = SAME_GRADIENT if resolution(loss.dtype) > COARSE else SAME_EXACTLY
            is_plain = is_plain and off <= allowed * float(plain_gradient.norm())
        by_rows = not is_plain and _is_plain(mean, plain.by_rows, loss.dtype)
        own = None if is_plain else own_gradient
        return Replay(mean, plain, is_plain, by_rows, plain.noise_nats, None, plain_gradient, own)


def _gradient_of_one(
    mesh: Mesh,
    loss: torch.Tensor | None,
    anchor: torch.Tensor,
    sketcher: Sketcher | None,
    scale: float,
    *,
    keep_graph: bool = False,
) -> torch.Tensor | None:
    """Take the gradients of what all processes ask, one after the other, and return that of this process's own.

    A backward gives the mean over all that have rows of their own: in each turn the loss of all but one is nothing.
    Those that have the same rows do their backward together.

    Args:
        mesh: Of the training.
        loss: Of this process; None where it has none.
        anchor: Something finite in the same graph.
        sketcher: Of the model; None to take no gradients.
        scale: Factor for the loss.
        keep_graph: Whether it is differentiated again.
    """
    if sketcher is None:
        return None
    size = mesh.num_turns(torch.distributed.get_world_size())
    own_turn = mesh.turn_of(torch.distributed.get_rank())
    usable = loss is not None and loss.requires_grad and bool(torch.isfinite(loss.detach()))
    own = sketcher.nothing()
    for turn in range(size):
        is_own = turn == own_turn and usable and loss is not None
        objective = loss * scale * size if is_own and loss is not None else anchor.float().sum() * 0.0
        with sketcher.received(scale) as sketch:
            _take_gradients(objective, retain_graph=keep_graph or turn < size - 1)
        if turn == own_turn:
            own = sketch
    return own


def _is_plain(mean: float, plain: CrossEntropy, dtype: torch.dtype) -> bool:
    if not plain.num_targets:
        return not mean or mean != mean  # a mean over nothing
    allowed = resolution(dtype) * abs(plain.mean_nats) + PLAIN_SLACK * plain.noise_nats
    return abs(mean - plain.mean_nats) <= allowed


def _cross_entropy_gradient(
    logits: torch.Tensor, labels: torch.Tensor, plain: CrossEntropy, scale: float
) -> torch.Tensor | None:
    """Return the gradient of the mean cross-entropy at the logits, scaled; None where none is to be taken."""
    if not (torch.is_grad_enabled() and logits.requires_grad):
        return None
    leaf = logits.detach().requires_grad_()
    loss = _mean_cross_entropy(leaf, labels, plain)
    return torch.autograd.grad(loss * scale, leaf)[0] if bool(torch.isfinite(loss.detach())) else None


def _differs_at_logits(loss: torch.Tensor, logits: torch.Tensor, wanted: torch.Tensor | None, allowed: float) -> bool:
    """Whether a loss that comes out as cross-entropy has another gradient at the logits: by chance, or by a fault."""
    if wanted is None or not loss.requires_grad:
        return False
    own = torch.autograd.grad(loss, logits, retain_graph=True, allow_unused=True)[0]
    if own is None:
        return False  # the loss was taken from other logits: those of a fused one, or before a cast
    return float((own - wanted).float().norm()) > allowed * float(wanted.float().norm())


def _gradient(loss: torch.Tensor, sketcher: Sketcher | None, scale: float) -> torch.Tensor | None:
    if sketcher is None:
        return None
    if not loss.requires_grad or not bool(torch.isfinite(loss.detach())):
        return sketcher.nothing()
    with sketcher.received(scale) as sketch:
        _take_gradients(loss * scale)
    return sketch


def _gradient_behind(
    logits: torch.Tensor, at_logits: torch.Tensor | None, sketcher: Sketcher | None, scale: float, *, keep_graph: bool
) -> torch.Tensor | None:
    """Return the sketch of a gradient that is known at the logits, scaled: it goes on from there."""
    if sketcher is None:
        return None
    if at_logits is None:
        return sketcher.nothing()
    with sketcher.received(scale) as sketch:
        _take_gradients(logits, at_logits, retain_graph=keep_graph)
    return sketch


def _scores_the_unshifted(loss: torch.Tensor, logits: torch.Tensor, batch: Mapping[str, Any]) -> bool:
    """Whether a loss passes labels by that the collator has shifted, and scores each label at its own position."""
    labels = batch.get(CAUSAL_LM.labels)
    if not isinstance(labels, torch.Tensor) or not loss.requires_grad or len(labels) != len(logits):
        return False
    found = find_alignment(loss, logits, labels)
    return found.is_clear and not found.shifts


class _Forwards:
    """What the forwards of a block were given and gave: logits, the latest last, and the tokens that were read."""

    def __init__(self) -> None:
        self.logits: list[torch.Tensor] = []
        self.read: torch.Tensor | None = None


@contextmanager
def _forwards_kept(model: torch.nn.Module, dims: int) -> Iterator[_Forwards]:
    kept = _Forwards()

    def keep(module: torch.nn.Module, args: Any, kwargs: dict[str, Any], outputs: Any) -> None:
        logits = find_logits(outputs, dims)
        if logits is not None:
            kept.logits.append(logits)
            kept.read = kwargs.get("input_ids", args[0] if args else None)

    handle = model.register_forward_hook(keep, with_kwargs=True)
    try:
        yield kept
    finally:
        handle.remove()


def _logits(
    trainer: Any, kept: list[torch.Tensor], batch: Mapping[str, Any], start: RandomState, dims: int
) -> tuple[torch.Tensor | None, float]:
    """Return the logits of the own loss's forward, or where a fused loss gave none, of a forward without labels.

    The latter may have multiplied its matrices in another order: the second value is their relative error for that.
    """
    if torch.is_grad_enabled():
        kept = [each for each in kept if each.requires_grad]
    if kept:
        return kept[-1], 0.0
    given = {name: value for name, value in batch.items() if name not in CAUSAL_LM.for_the_loss}
    try:
        # From the same state: dropout is to be that of the loss.
        with undisturbed(trainer.model, start):
            logits = find_logits(trainer.model(**given), dims)
    except TypeError:  # inputs that are not the model's own
        return None, 0.0
    return logits, 0.0 if logits is None else resolution(logits.dtype)


def _cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    alignments: tuple[bool, ...],
    own: torch.Tensor,
    blur: float,
    read: Any = None,
) -> CrossEntropy:
    """Score the labels as the own loss does: shifted or not.

    Args:
        logits: (rows, positions, vocabulary).
        labels: (rows, tokens).
        alignments: That are possible.
        own: The own loss.
        blur: Relative error of the logits.
        read: The tokens that the model was given, (rows, tokens).
    """
    mean, found = float(own.detach()), []
    for shifts in alignments:
        alignment = align(logits, labels, shifts=shifts)
        sums, noise = measure(logits.detach(), alignment, blur=blur)
        rows = [total / count for total, count in zip(sums, alignment.counts) if count]
        row_mean = math.fsum(rows) / len(rows) if rows else 0.0
        count = len(alignment.targets)
        found.append(CrossEntropy(math.fsum(sums), count, row_mean, shifts, noise / max(1, count)))
    errors = [abs(mean - each.mean_nats) if each.num_targets else float("inf") for each in found]
    best = min(range(len(found)), key=errors.__getitem__)
    if len(found) > 1 and not _is_plain(mean, found[best], own.dtype) and own.requires_grad:
        # No plain cross-entropy: the direction of its gradient at the logits tells.
        aligned = find_alignment(own, logits, labels)
        chosen = next(each for each in found if each.shifts == aligned.shifts)
        copies = repeats(read, labels, aligned.supported)
        return replace(chosen, is_aligned=aligned.is_clear, targets_are_read=copies)
    return replace(found[best], targets_are_read=repeats(read, labels))


def _mean_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, plain: CrossEntropy) -> torch.Tensor:
    alignment = align(logits, labels, shifts=plain.shifts)
    scored = by_position(logits)[alignment.positions]
    wide = scored.float() if scored.dtype.itemsize < 4 else scored
    total = torch.nn.functional.cross_entropy(wide, alignment.targets, reduction="sum")
    return total / max(1, plain.num_targets)


def gradient_noise(
    trainer: Any, inputs: Any, sketcher: Sketcher, scale: float, *, is_counted: bool = False
) -> torch.Tensor:
    """Measure by how much rounding changes the gradient of a micro-batch, relative to its norm, (parameters,).

    The gradient of the same loss is taken twice, at two scales.
    """
    sketches = []
    for factor in (1.0, OTHER_SCALE):
        with aside(trainer):
            count = count_for(trainer, inputs, shifts=True) if is_counted else None
            loss = own_mean(trainer, prepared(trainer, inputs), shifts=True, count=count)
            loss = loss.mean()
            found = (
                _gradient_of_one(Mesh(trainer), loss, loss, sketcher, scale * factor)
                if is_spread(trainer.model)
                else _gradient(loss, sketcher, scale * factor)
            )
            sketches.append(sketcher.nothing() if found is None else found)
    norm = float(sketches[0].norm())
    difference: torch.Tensor = (sketches[0] - sketches[1]).norm(dim=1)
    return difference / norm if norm else difference


def repeat(
    trainer: Any, training_step: Any, model: Any, inputs: Any, args: Any, kwargs: Any, sketcher: Sketcher | None
) -> tuple[float, torch.Tensor | None]:
    """Do a micro-batch exactly as the training is about to do it; return its loss and its gradient's sketch."""
    with untouched(trainer):
        loss = float(training_step(model, fresh(inputs), *args, **kwargs).detach().mean())
        return loss, None if sketcher is None else sketcher.present()


@dataclass(frozen=True)
class TriedStep:
    """A step that was done once more: what `training_step` returned, the count it was handed, the gradient's sketch."""

    losses: tuple[float, ...]
    num_items: Any
    gradient: torch.Tensor


def step_at_other_flag(
    trainer: Any,
    training_step: Any,
    model: Any,
    batches: Sequence[tuple[Any, RandomState | None]],
    sketcher: Sketcher,
    scale: float,
) -> TriedStep:
    """Do a whole step at the other value of the loss-kwargs flag, the Trainer's own count included.

    Args:
        trainer: At the end of the step, before its update.
        training_step: Its own.
        model: That `training_step` is given.
        batches: The step's micro-batches, each with what it drew from; None: the present state.
        sketcher: Of its model.
        scale: Factor by which mixed precision scales the loss before backward.
    """
    with untouched(trainer):
        trainer.model_accepts_loss_kwargs = not trainer.model_accepts_loss_kwargs
        samples, count = batch_samples(trainer, [fresh(inputs) for inputs, _ in batches])
        losses = []
        with sketcher.received(scale) as gradient:
            for each, (_, start) in zip(samples, batches):
                if start is not None:
                    start.restore()  # dropout is to be the step's, so that its replays tell of this one too
                losses.append(float(training_step(model, fresh(each), num_items_in_batch=count).detach()))
    return TriedStep(tuple(losses), count, gradient)


def model_alignment(trainer: Any, inputs: Mapping[str, Any]) -> bool | None:
    """Return whether the model's own loss shifts the labels; None where it has none that tells."""
    with aside(trainer):
        batch = prepared(trainer, inputs)
        outputs = trainer.model(**batch)
        labels, loss, logits = batch.get(CAUSAL_LM.labels), find_loss(outputs), find_logits(outputs)
        if labels is None or loss is None or logits is None or not loss.requires_grad:
            return None
        labels = without_unscored_first(loss, logits, labels)
        possible = alignments(labels, collated=False, shifts=None)
        found = _cross_entropy(logits, labels, possible, loss, 0.0)
        return found.shifts if found.is_aligned else None


def returns_k_times(trainer: Any, inputs: Mapping[str, Any], *, shifts: bool, is_counted: bool = False) -> bool:
    """Whether the own code returns k times as much when it is asked with k as configured."""
    k = trainer.args.gradient_accumulation_steps
    with torch.no_grad(), untouched(trainer), trainer.compute_loss_context_manager():
        count = count_for(trainer, inputs, shifts=shifts) if is_counted else None
        batch = prepared(trainer, inputs)
        configured = float(own_mean(trainer, batch, shifts=shifts, count=count).mean())
    with torch.no_grad(), aside(trainer):
        alone = float(own_mean(trainer, prepared(trainer, inputs), shifts=shifts, count=count).mean())
    return k > 1 and bool(alone) and abs(configured / alone / k - 1) <= TIMES_K_FITS


def ask_location(
    trainer: Any, given: Mapping[str, Any], start: RandomState | None, *, shifts: bool
) -> tuple[CodeLocation, ...]:
    """Look from which line the loss of a micro-batch comes, by computing it once more.

    Args:
        trainer: At the end of a step.
        given: The micro-batch.
        start: Random state before it; None where that is not known.
        shifts: Whether the loss shifts the labels.
    """
    with torch.no_grad(), untouched(trainer, start), trainer.compute_loss_context_manager():
        inputs = prepared(trainer, given)
        watching = ScalarTrace(trainer.model, trainer)
        with watching:
            loss = own_mean(trainer, inputs, shifts=shifts)
    return watching.location_of(loss)
