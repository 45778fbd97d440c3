"""Watches any Trainer instance and notes raw facts per micro-batch. It never changes what is computed.

It wraps the instance's `training_step`, whose return value is what the Trainer adds to its log, and reads
`accelerator.sync_gradients` afterwards: true at the last micro-batch of an optimizer step, when the gradient
is whole and not yet clipped. At observed steps it repeats every micro-batch by itself (`replays.py`), and sketches by
how much the training's own backward let the gradients grow.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from typing import Any

import torch

from gacheck.errors import one_line
from gacheck.rules.explain import Explanation, explain
from gacheck.rules.facts import (
    CodeLocation,
    EvaluationFacts,
    GradientProducts,
    MicroBatchRecord,
    Observation,
    OwnLossFacts,
    StepRecord,
)
from gacheck.rules.gradients import gradient_error, multipliers
from gacheck.rules.steps import HYPOTHESES, optimizer_step
from gacheck.rules.table import RULES_BY_NAME
from gacheck.watch.batches import (
    Batch,
    Prepared,
    as_given,
    batch_fingerprints,
    count_labels,
    fresh,
    named,
    num_rows,
)
from gacheck.watch.cross_entropy import LogitsReader, resolution
from gacheck.watch.description import hooked_parameters, known_shift
from gacheck.watch.gradients import ReplayGradients, decode, encode
from gacheck.watch.mesh import Mesh
from gacheck.watch.micro_batch import MicroBatchReader, has_labels
from gacheck.watch.own_loss import rejects_count
from gacheck.watch.questions import Exchange, Questions
from gacheck.watch.replays import (
    CrossEntropy,
    Question,
    gradient_noise,
    model_alignment,
    repeat,
    replay,
    step_at_other_flag,
)
from gacheck.watch.restoring import RandomState
from gacheck.watch.rounding import Rounding
from gacheck.watch.seen import Seen
from gacheck.watch.sketches import Sketcher
from gacheck.watch.spread import is_spread, whole

# A gradient that is as near as this to a rule's needs no measured noise to be called that.
EXACT = 1e-4

# A micro-batch that is done twice proves nothing where it differs by more: so little the atomics of an accelerator do.
NOT_REPEATED = 0.03


class Probe:
    """Facts of one training, micro-batch by micro-batch.

    Args:
        trainer: Any Trainer; watched from now on.
        shifts: Whether the model scores label t+1 at position t; None to find it out at the first micro-batch.
        observed_steps: At how many of the first optimizer steps more is noted than losses.
        gradients: Whether replays take gradients.
        locate: Whether to look for the line that computes a loss that is not right.
        exchange: Tells the other processes something and returns what each told; None in a training of one.
        step_done: Called after every optimizer step, before its update.

    Attributes:
        mesh: How the processes divide the rows.
        steps: What was seen, an entry an optimizer step.
        trouble: What kept a micro-batch from being observed; the training itself went on.
        model_shifts: Whether the model's own loss shifts the labels, where the training's does not.
        labels_are_inputs: Whether the labels are then the inputs of the same positions.
        tried: The first step that is wrong, done once more at the other value of the flag.
        tried_refused: What the model said at that value, where it refuses `num_items_in_batch`.
        refused: What it said in the training itself, which thereby ended.
        repeat_error: By how much the loss of the first micro-batch differs when the training does it twice, relative.
    """

    def __init__(
        self,
        trainer: Any,
        *,
        shifts: bool | None,
        observed_steps: int = 1,
        gradients: bool = True,
        locate: bool = False,
        exchange: Exchange | None = None,
        step_done: Callable[[], None] | None = None,
    ) -> None:
        self._trainer = trainer
        self._observed_steps = observed_steps
        self._gradients = gradients
        self._locate = locate
        self._exchange = exchange
        self.mesh = Mesh(trainer)
        self._step_done = step_done
        self._seen: list[Seen | None] = []
        self._micro_batches: list[MicroBatchRecord] = []
        self._sketcher: Sketcher | None = None
        self._rounding: Rounding | None = None
        self._updates_before = 0
        self._questions = Questions(trainer, locate=locate, exchange=exchange)
        self._model: Any = None
        self._is_replaying = False
        self._is_alone: bool | None = None
        self._training_step = trainer.training_step
        self._had_own_step = "training_step" in vars(trainer)
        self.shifts = shifts
        self.resolution = 0.0
        self.steps: list[StepRecord] = []
        self.trouble: list[Exception] = []
        if self.mesh.why_not_measured is not None:
            # Of rows that are split among processes a repeat may not even be possible: losses alone are noted.
            self._observed_steps = 0
            self.trouble.append(RuntimeError(self.mesh.why_not_measured))
        self.model_shifts: bool | None = None
        self.labels_are_inputs: bool | None = None
        self.tried: StepRecord | None = None
        self.tried_refused: str | None = None
        self.refused: str | None = None
        self.repeat_error: float | None = None

        @functools.wraps(self._training_step)
        def watched_step(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
            return self._watched_step(model, inputs, *args, **kwargs)

        self._watched = watched_step
        trainer.training_step = watched_step

    @property
    def own_loss(self) -> OwnLossFacts:
        """What was asked of the training's own loss."""
        return self._questions.own_loss

    @property
    def location(self) -> tuple[CodeLocation, ...]:
        """The line that computes the loss, outermost last; none where that was not asked."""
        return self._questions.location

    @property
    def evaluation(self) -> EvaluationFacts | None:
        """What `eval_loss` makes of the size of its batches; None where that was not asked."""
        return self._questions.evaluation

    @property
    def unseen(self) -> tuple[str, ...]:
        """What could not be seen, and why."""
        return tuple(dict.fromkeys(map(one_line, self.trouble)))

    def stop(self) -> None:
        """Give the Trainer its `training_step` back: from now on nothing is watched."""
        if vars(self._trainer).get("training_step") is not self._watched:
            return  # somebody has put another in its place
        if self._had_own_step:
            self._trainer.training_step = self._training_step
        else:
            vars(self._trainer).pop("training_step", None)

    def _watched_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        num_items = args[0] if args else kwargs.get("num_items_in_batch")
        self._model = model
        self._begin_training()
        is_observed = len(self.steps) < self._observed_steps
        if is_observed:
            self._make_sketcher()
        again = self._repeat(model, inputs, args, kwargs) if is_observed else None
        try:
            with ExitStack() as stack:
                seen = self._begin(inputs, stack) if is_observed else None
                if seen is not None:
                    stack.enter_context(self._asking(seen))
                loss: torch.Tensor = self._training_step(model, inputs, *args, **kwargs)
        except BaseException as error:
            self.refused = one_line(error) if rejects_count(error) else None
            # The Trainer may begin the step anew, with a smaller batch after it ran out of memory.
            self._micro_batches, self._seen = [], []
            raise
        # DataParallel returns one loss for every device.
        value = float(loss.detach() if loss.numel() == 1 else loss.detach().mean())
        if again is not None:
            self._compare(*again, value, seen)
        if seen is not None:
            self._check_names(seen)
        if seen is not None and seen.num_asked != 1 and not isinstance(seen.inputs, Prepared):
            # What its step means by the whole micro-batch is not asked of `compute_loss`: its cross-entropy may tell.
            self._replay(seen, Question(seen.inputs, start=seen.start))
        elif seen is not None and self._waits_for_alignment:
            self._learn_alignment(seen)
            self._replay(seen, Question(seen.inputs, start=seen.start))
        self._seen.append(seen)
        self._micro_batches.append(self._note(value, loss.dtype, num_items, seen))
        if self._trainer.accelerator.sync_gradients:
            self._close_step()
        return loss

    def _begin_training(self) -> None:
        """Of weights that are spread look at nothing unless all processes do: to see them whole takes all."""
        if self._is_alone is not None:
            return
        is_shared = self._exchange is not None and is_spread(self._trainer.model)
        self._is_alone = is_shared and self._exchange is not None and self._exchange("watched") is None
        if self._is_alone:
            self._observed_steps = 0
            alone = "the weights are spread over several processes, and one of them is not watched"
            self.trouble.append(RuntimeError(alone))

    def _make_sketcher(self) -> None:
        if self._sketcher is None and self._gradients:
            with self._guarded():
                self._sketcher = Sketcher(self._trainer.model, getattr(self._trainer, "optimizer", None))
                self._rounding = Rounding(self._trainer, self._sketcher)

    def _repeat(self, model: Any, inputs: Any, args: Any, kwargs: Any) -> tuple[float, torch.Tensor | None] | None:
        """Do the first micro-batch twice: what is not the same then proves nothing."""
        if self.steps or self._micro_batches or self._is_distributed:
            return None
        with self._guarded():
            return repeat(self._trainer, self._training_step, model, inputs, args, kwargs, self._sketcher)
        return None

    def _compare(self, loss: float, gradient: torch.Tensor | None, value: float, seen: Seen | None) -> None:
        """Note by how much the first micro-batch was not the same when the training did it twice."""
        self.repeat_error = abs(loss - value) / abs(value) if value else None
        errors = [self.repeat_error or 0.0]
        # The hooks on a gradient slept when it was done for the first time.
        is_whole = not hooked_parameters(self._trainer.model)
        growth = seen.growth if seen is not None and is_whole else None
        if self._rounding is not None and gradient is not None and growth is not None:
            norm = float(growth.norm())
            if norm and math.isfinite(norm):
                self._rounding.repeated = (gradient / self._loss_scale - growth).norm(dim=1) / norm
                errors.append(float(self._rounding.repeated.norm()))
        repeats = all(error <= NOT_REPEATED for error in errors if math.isfinite(error))
        self._questions.own_loss = replace(self.own_loss, repeats=repeats)
        if not repeats:
            self.trouble.append(RuntimeError("a micro-batch that the training did twice was not the same"))

    @property
    def _is_distributed(self) -> bool:
        return self._exchange is not None

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Note what goes wrong with the watching; the training goes on."""
        try:
            yield
        except Exception as error:
            self.trouble.append(error)

    def _begin(self, inputs: Any, stack: ExitStack) -> Seen | None:
        # Code may take apart what it is given. What has no names is known once `compute_loss` is asked.
        seen = Seen(fresh(inputs) if isinstance(inputs, Mapping) else Prepared())
        with self._guarded():
            seen.start = RandomState.now(self._trainer.model)
        if has_labels(seen.inputs):
            with self._guarded():
                shifts = known_shift(self._trainer.model, seen.inputs, self.shifts)
                seen.reader = MicroBatchReader(self._trainer.model, seen.inputs, shifts)
                stack.enter_context(seen.reader.watching())
        with self._guarded():
            self._watch_growth(seen, stack)
        return seen

    @contextmanager
    def _asking(self, seen: Seen) -> Iterator[None]:
        """Within the block, repeat the micro-batch when `compute_loss` is asked: with its inputs, from its state."""
        trainer = self._trainer
        own, had_own = trainer.compute_loss, "compute_loss" in vars(trainer)

        @functools.wraps(own)
        def asked(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._is_replaying:
                seen.num_asked += 1
                if isinstance(seen.inputs, Prepared):
                    seen.inputs = Prepared(fresh(inputs)) if isinstance(inputs, Mapping) else named(fresh(inputs))
                if seen.num_asked == 1:
                    count = kwargs.get("num_items_in_batch", args[1] if len(args) > 1 else None)
                    seen.is_counted = self._may_count(count, seen)
                if seen.num_asked == 1 and not self._waits_for_alignment:
                    self._replay(seen, Question(seen.inputs, inputs, is_counted=seen.is_counted))
            return own(model, inputs, *args, **kwargs)

        trainer.compute_loss = asked
        try:
            yield
        finally:
            if vars(trainer).get("compute_loss") is asked:
                if had_own:
                    trainer.compute_loss = own
                else:
                    del trainer.compute_loss

    @property
    def _waits_for_alignment(self) -> bool:
        """Whether the training has to say first what is scored.

        To find it out at a repeat can take a backward, which of weights that are spread no process does alone.
        """
        return self.shifts is None and self._is_distributed and is_spread(self._trainer.model)

    def _learn_alignment(self, seen: Seen) -> None:
        """Learn from the training's own backward, and from the other processes, whether the loss shifts the labels."""
        told = None
        if seen.reader is not None:
            with self._guarded():
                told = _alignment_told(seen.reader)
        if self._exchange is not None:
            found = self._exchange(told) or []
            self.shifts = next((each for each in found if each is not None), None)

    def _may_count(self, count: Any, seen: Seen) -> bool:
        # With several processes the Trainer multiplies by their number where it is handed a count.
        return count is not None and not self._is_distributed and not isinstance(seen.inputs, Prepared)

    def _check_names(self, seen: Seen) -> None:
        if isinstance(seen.inputs, Prepared) and not as_given(seen.inputs):
            self.trouble.append(ValueError("its micro-batches are no mappings of names to tensors"))

    def _replay(self, seen: Seen, question: Question) -> None:
        self._is_replaying = True
        try:
            with self._guarded(), seen.reader.pausing() if seen.reader is not None else nullcontext():
                seen.replayed = replay(self._trainer, question, self.shifts, self._sketcher, self._loss_scale)
                plain = seen.replayed.plain
                if self.shifts is None and plain is not None and plain.num_targets:
                    self._align(seen.inputs, plain)
        finally:
            self._is_replaying = False

    def _align(self, inputs: Mapping[str, Any], plain: CrossEntropy) -> None:
        """Note whether the loss shifts the labels; where it does not, whether the model's own would."""
        self.shifts = plain.shifts
        if not plain.shifts and plain.is_aligned and not plain.is_collated:
            with suppress(Exception):
                self.model_shifts = model_alignment(self._trainer, inputs)
            self.labels_are_inputs = plain.targets_are_read

    def _watch_growth(self, seen: Seen, stack: ExitStack) -> None:
        sketcher = self._sketcher
        if sketcher is None:
            return
        # What changes them between two micro-batches counts with the later one.
        earlier = next((each.present for each in reversed(self._seen) if each is not None), None)
        before, scale = sketcher.present() if earlier is None else earlier, self._loss_scale
        updates = self._num_updates
        if earlier is None:
            self._updates_before = updates
        elif updates != self._updates_before:
            raise RuntimeError("the Trainer updates the weights before it says that the step is whole")
        versions = sketcher.versions()

        def after() -> None:
            with self._guarded():
                if sketcher.is_updated(versions):
                    updated = RuntimeError("weights are updated within training_step, which leaves no gradients behind")
                    # Where several micro-batches are to make a step, they do not: that is a fault of the gradient.
                    if self._trainer.args.gradient_accumulation_steps == 1:
                        raise updated
                    self.trouble.append(updated)
                seen.present = sketcher.present()
                seen.growth = (seen.present - before) / scale

        stack.callback(after)

    def _note(self, loss: float, dtype: torch.dtype, num_items: Any, seen: Seen | None) -> MicroBatchRecord:
        observation = None
        if seen is not None:
            with self._guarded():
                observation = self._observe(dtype, seen)
        return MicroBatchRecord(
            reported_loss_nats=loss,
            num_items_in_batch=_as_count(num_items),
            observation=observation,
            process=self._trainer.args.process_index,
        )

    def _observe(self, dtype: torch.dtype, seen: Seen) -> Observation | None:
        self.resolution = max(self.resolution, resolution(dtype))
        reader, replayed = seen.reader, seen.replayed
        read = self._read_logits(reader) if reader is not None else None
        plain = replayed.plain if replayed is not None else None
        if replayed is None and (read is None or read.sum_nats is None):
            return None
        is_asked = self._questions.may_ask and seen.num_asked == 1
        self._questions.own_loss = replace(self.own_loss, is_asked=is_asked)
        weight = read.weight(self._loss_scale) if read is not None else None
        taken = reader.backward.loss if reader is not None else None
        # A training's step may do other forwards than that of its loss: the replay's logits are those of the loss.
        total, count, noise = (plain.sum_nats, plain.num_targets, plain.noise_nats) if plain else (None, 0, 0.0)
        if plain is None and read is not None and read.num_targets is not None:
            total, count = read.sum_nats, read.num_targets
            noise = read.noise_nats / count if count else 0.0
        return Observation(
            rows=_fingerprints(seen.inputs),
            num_target_tokens=count,
            num_label_tokens=count_labels(read.labels) if read is not None else _num_labels(seen.inputs),
            sum_nats=total,
            own_mean_nats=replayed.own_mean_nats if replayed is not None and self._questions.may_ask else None,
            weight=weight.weight if weight else None,
            weight_spread=weight.spread if weight else None,
            backward_loss_nats=None if taken is None else taken / self._loss_scale,
            num_rows=num_rows(seen.inputs),
            noise_nats=noise,
            own_noise_nats=replayed.noise_nats if replayed is not None else 0.0,
            own_count=replayed.own_count if replayed is not None else None,
        )

    def _read_logits(self, reader: MicroBatchReader) -> LogitsReader:
        readers = reader.readers
        troubles = [reader.trouble, *(each.trouble for each in readers.values())]
        self.trouble += [each for each in troubles if each is not None]
        if len(readers) == 1:
            return next(iter(readers.values()))
        if self.shifts is not None:
            return readers[self.shifts]
        told = _alignment_told(reader)
        # Where all processes have to repeat together, they all have to know.
        if told is not None and not self._waits_for_alignment:
            self.shifts = told
        return readers[told is not False]

    def _close_step(self) -> None:
        norm = None
        # A step is the micro-batches of all processes: by this one's alone nothing is said of it.
        known = [replace(m, observation=None) for m in self._micro_batches]
        gradients: tuple[GradientProducts, ...] = ()
        if not self._is_alone:
            with self._guarded():
                norm = gradient_norm(self._trainer.model)
                norm = norm / self._loss_scale if norm is not None else None
        with self._guarded():
            known = self._gathered(self._micro_batches) or known
        if len(self.steps) < self._observed_steps:
            with self._guarded():
                known, gradients = self._judge(known)
        if not self.steps:
            self._questions.ask_evaluation([each for each in self._seen if each is not None])
        self.steps.append(StepRecord(len(self.steps) + 1, tuple(known), norm, gradients))
        self._micro_batches, self._seen = [], []
        if self._step_done is not None:
            self._step_done()

    def _gathered(self, own: list[MicroBatchRecord]) -> list[MicroBatchRecord] | None:
        """Return the micro-batches of all processes; None where one of them told nothing."""
        if self._exchange is None:
            return own
        everybody = self._exchange([asdict(m) for m in own])
        if everybody is None:
            return None
        processes = [[micro_batch_from(facts) for facts in process] for process in everybody]
        if not self.mesh.is_same([[m.observation and m.observation.rows for m in each] for each in processes]):
            raise RuntimeError("processes that hold the weights between them were not given the same rows")
        return [m for process in self.mesh.of_distinct_rows(processes) for m in process]

    def _judge(self, known: list[MicroBatchRecord]) -> tuple[list[MicroBatchRecord], tuple[GradientProducts, ...]]:
        """Hold the step's gradient against its replays, and ask what its losses leave open.

        Every process decides by the same facts: a question can hold a collective call, which all have to make.
        """
        seen = [each for each in self._seen if each is not None]
        if any(m.observation is None for m in known) or len(seen) < len(self._seen):
            return known, ()
        known = _with_count(known, self._questions.count_of_step(seen))
        replays = self._replay_gradients(seen) if self.own_loss.repeats is not False else None
        found = self._explain(known)
        is_right = found is not None and found.hypothesis == "plain" and found.rule.right
        if not is_right:
            shifts = known_shift(self._trainer.model, seen[-1].inputs, self.shifts)
            self._questions.ask(seen, shifts=shifts is not False)
        if replays is None or self._sketcher is None or self._rounding is None:
            return known, ()
        present = seen[-1].present
        if present is None or any(each.present is None for each in seen):
            return known, ()
        names, gradient = self._sketcher.names, present / self._loss_scale
        suspects = self._suspects(known, found, len(replays))
        noise = self._rounding.of(gradient, seen, self._loss_scale)
        products = replays.products(gradient, noise, names, suspects)
        if self._locate and not is_right and self.tried is None and not self._is_distributed:
            try:
                self.tried = self._try_other_flag(known, seen, replays)
            except Exception as error:  # what cannot be tried is not known
                self.tried_refused = one_line(error) if rejects_count(error) else None
        if self._rounding.rescaled is None and not any(_is_exact(products, each) for each in suspects):
            # That which adds most to the step: of others more is rounding than of the step.
            most = max(seen, key=lambda each: 0.0 if each.growth is None else float(each.growth.norm()))
            self._rounding.rescaled = gradient_noise(
                self._trainer, most.inputs, self._sketcher, self._loss_scale, is_counted=most.is_counted
            )
            noise = self._rounding.of(gradient, seen, self._loss_scale)
            products = replays.products(gradient, noise, names, suspects)
        if not self._is_distributed:
            asks_own = self._asks_own(seen)
            known = [self._with_growth(m, s, asks_own=asks_own) for m, s in zip(known, seen)]
        return known, products

    def _explain(self, known: list[MicroBatchRecord]) -> Explanation | None:
        return explain(known, self._trainer.args.gradient_accumulation_steps, self.resolution)

    def _suspects(
        self, known: list[MicroBatchRecord], found: Explanation | None, num_replays: int
    ) -> list[tuple[float, ...]]:
        """Return the multipliers of the rule of the losses; where none is that, of the right one of each reading."""
        k = self._trainer.args.gradient_accumulation_steps
        readings = [(found.rule, found.step, found.hypothesis)] if found is not None else []
        for hypothesis in HYPOTHESES if found is None else ():
            step = optimizer_step(known, k, hypothesis)
            right = RULES_BY_NAME["token_mean"]
            rule = replace(right, auxiliary="mean") if hypothesis == "auxiliary" else right
            readings += [(rule, step, hypothesis)] if step is not None else []
        multiplied = [multipliers(*each, num_replays) for each in readings]
        return [each for each in multiplied if each is not None]

    def _try_other_flag(
        self, known: list[MicroBatchRecord], seen: list[Seen], replays: ReplayGradients
    ) -> StepRecord | None:
        """Do the step once more as the Trainer would at the other value of the flag."""
        trainer, sketcher = self._trainer, self._sketcher
        if sketcher is None or self._rounding is None or not hasattr(trainer, "model_accepts_loss_kwargs"):
            return None
        if any(isinstance(each.inputs, Prepared) for each in seen):
            return None  # preparing them anew would draw others
        if hooked_parameters(trainer.model):
            return None  # those hooks sleep while a step is tried, so that it would not be the training's
        batches = [(each.inputs, each.start) for each in seen]
        tried = step_at_other_flag(trainer, self._training_step, self._model, batches, sketcher, self._loss_scale)
        noise = self._rounding.of(tried.gradient, seen, self._loss_scale)
        products = replays.products(tried.gradient, noise, sketcher.names, [])
        micro_batches = [
            replace(
                m,
                reported_loss_nats=loss,
                num_items_in_batch=_as_count(tried.num_items),
                observation=replace(m.observation, weight=None, weight_spread=None, backward_loss_nats=None)
                if m.observation is not None
                else None,
            )
            for m, loss in zip(known, tried.losses)
        ]
        return StepRecord(len(self.steps) + 1, tuple(micro_batches), float(tried.gradient.norm()), products)

    def _replay_gradients(self, seen: list[Seen]) -> ReplayGradients | None:
        """Return the gradients of the replays of all processes."""
        replays = [each.replayed for each in seen]
        plain = [None if each is None else each.plain_gradient for each in replays]
        asks = self._asks_own(seen)
        own = [each.own_gradient if each is not None and asks else None for each in replays]
        if self._exchange is not None and self._sketcher is not None:
            told = self._exchange([[encode(each) for each in kind] for kind in (plain, own)])
            if told is None:
                silent = "another process did not tell its gradients, so that of the step cannot be judged"
                self.trouble.append(RuntimeError(silent))
                return None
            like = self._sketcher.nothing()
            told = self.mesh.of_distinct_rows(told)
            plain = [decode(text, like) for process in told for text in process[0]]
            own = [decode(text, like) for process in told for text in process[1]]
        return ReplayGradients.of(plain, own)

    def _with_growth(self, record: MicroBatchRecord, seen: Seen, *, asks_own: bool) -> MicroBatchRecord:
        replayed = seen.replayed
        if record.observation is None or replayed is None or seen.growth is None:
            return record
        own = replayed.own_gradient if asks_own else None
        replays = ReplayGradients.of([replayed.plain_gradient], [own])
        if replays is None or seen.present is None or self._rounding is None:
            return record
        noise = self._rounding.of(seen.growth, [seen], self._loss_scale)
        whole = replays.product(seen.growth, noise)
        return replace(record, observation=replace(record.observation, gradient=whole))

    def _asks_own(self, seen: Sequence[Seen]) -> bool:
        """Whether the own loss has gradients besides those of cross-entropy.

        One micro-batch can come out as cross-entropy by chance; where all do, the loss is that.
        """
        return self._questions.may_ask and any(each.is_other for each in seen)

    @property
    def _num_updates(self) -> int:
        """How many the Trainer has counted."""
        return int(getattr(getattr(self._trainer, "state", None), "global_step", 0))

    @property
    def _loss_scale(self) -> float:
        """The factor by which float16 autocast scaled the loss before backward."""
        scaler = getattr(self._trainer.accelerator, "scaler", None)
        return float(scaler.get_scale()) if scaler is not None else 1.0


def _alignment_told(reader: MicroBatchReader) -> bool | None:
    """Return whether the loss shifts the labels, as its backward tells; None where it does not.

    Read against labels that are one position off, the weight varies by more than itself.
    """
    weights = {shifts: each.weight() for shifts, each in reader.readers.items()}
    spreads = {shifts: weight.spread for shifts, weight in weights.items() if weight is not None}
    return min(spreads, key=spreads.__getitem__, default=None)


def _with_count(known: list[MicroBatchRecord], count: float | None) -> list[MicroBatchRecord]:
    """Note at every micro-batch what the training's own code counts in their step."""
    if count is None:
        return known
    return [
        m if m.observation is None else replace(m, observation=replace(m.observation, own_count_of_step=count))
        for m in known
    ]


def _is_exact(products: tuple[GradientProducts, ...], multiplied: tuple[float, ...]) -> bool:
    errors = [gradient_error(each, multiplied) for each in products]
    return all(error is not None and error.relative <= EXACT for error in errors)


def _num_labels(inputs: Mapping[str, Any]) -> int:
    """Count labels of any kind."""
    labels = inputs.get("labels")
    return count_labels(labels) if isinstance(labels, torch.Tensor) else 0


def _fingerprints(inputs: Batch) -> tuple[str, ...]:
    """Identify the rows; rows of a kind of their own have no fingerprints, and need none to be judged."""
    try:
        return batch_fingerprints(inputs)
    except Exception:
        return ()


def _as_count(num_items: Any) -> float | None:
    if num_items is None:
        return None
    # DataParallel is handed the same count once for every device.
    return float(num_items.flatten()[0] if isinstance(num_items, torch.Tensor) else num_items)


def micro_batch_from(facts: dict[str, Any]) -> MicroBatchRecord:
    """Rebuild what another process told."""
    seen = facts["observation"]
    observation = None if seen is None else Observation(**{**seen, "rows": tuple(seen["rows"]), "gradient": None})
    return MicroBatchRecord(**{**facts, "observation": observation})


def gradient_norm(model: torch.nn.Module) -> float | None:
    """Return the norm over all gradients as they stand, None if there are none."""
    gradients = [whole(p.grad.detach()) for p in model.parameters() if p.grad is not None]
    dense = [g.coalesce().values() if g.is_sparse else g for g in gradients]
    norms = [torch.linalg.vector_norm(g.float()).cpu() for g in dense]
    return float(torch.linalg.vector_norm(torch.stack(norms).double())) if norms else None
