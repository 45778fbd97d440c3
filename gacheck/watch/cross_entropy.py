"""Plain cross-entropy from logits, by our own arithmetic, and the weight that a backward pass gave each target."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.autograd.graph import Node
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from gacheck.rules.task import IGNORE_INDEX

# From the sum to the reported loss lie a sum, a division by the count, one by k and a product with the world
# size: four roundings, each at most half an epsilon.
ROUNDINGS = 4

# An alignment is clear where the gradient has a cosine above this to that of its cross-entropy, and twice the other's.
MOST_OF_IT = 0.5
CLEARLY_MORE = 2.0
# … or above this, where the other's is negative: of rows that are known by heart any loss climbs along the label that
# follows, also one that scores another.
NEARLY_ALL = 0.9

# By how much the gradient of half-precision logits differs from that of their float32 copy, by rounding.
SAME_AS_ITS_COPY = 0.02

# A logit this far below the largest, in nats, is a probability that float32 rounds to 0: e^-104 < 2^-150.
NO_SHARE = 104.0

# Most elements of the logits that are copied at a time.
PIECE = 2**24


def _float_dtype(device: torch.device) -> torch.dtype:
    """Return the widest float of the device; Metal has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def resolution(dtype: torch.dtype) -> float:
    """Return the relative error that the roundings of a loss in this dtype can add up to."""
    return ROUNDINGS * torch.finfo(dtype).eps / 2


def find_logits(outputs: Any, dims: int = 3) -> torch.Tensor | None:
    """Return the logits of a model's outputs, None if there are none.

    Args:
        outputs: Named, or a tuple.
        dims: 3 for (rows, positions, vocabulary), 2 for (rows, classes).
    """
    named = outputs.get("logits") if isinstance(outputs, dict) else getattr(outputs, "logits", None)
    candidates = [named] if named is not None else list(outputs) if isinstance(outputs, tuple) else []
    tensors = (each for each in candidates if isinstance(each, torch.Tensor))
    return next((each for each in tensors if each.dim() == dims and each.is_floating_point()), None)


def may_score(logits: torch.Tensor, labels: torch.Tensor) -> bool:
    """Whether the labels are classes that the logits know, of the same rows."""
    return len(logits) == len(labels) and (not labels.numel() or int(labels.max()) < logits.shape[-1])


def by_position(scores: torch.Tensor) -> torch.Tensor:
    """Return logits, or their gradient, as (rows, positions, vocabulary): one class a row is a row of one position."""
    return scores if scores.dim() > 2 else scores.unsqueeze(1)


@dataclass(frozen=True)
class Alignment:
    """Which logit scores which label in one micro-batch.

    Attributes:
        positions: Boolean (rows, positions of the logits): scored positions.
        targets: (number of scored positions,) label ids, in the order of `positions`.
    """

    positions: torch.Tensor
    targets: torch.Tensor

    @property
    def counts(self) -> list[int]:
        """Targets of every row."""
        counts: list[int] = self.positions.sum(1).tolist()
        return counts


def align(logits: torch.Tensor, labels: torch.Tensor, *, shifts: bool) -> Alignment:
    """Pair the logits with the labels that they are scored on: a class a row as rows of one position.

    Logits and labels of unequal length are aligned at their ends: prompt tuning puts positions in front, and shifted,
    the last of these scores the first label. Where the loss does not score that, `without_unscored_first` takes it out.
    """
    logits, labels = by_position(logits), labels.to(logits.device)
    labels = labels if labels.dim() > 1 else labels.unsqueeze(1)
    length = min(logits.shape[1], labels.shape[1])
    labels = labels[:, labels.shape[1] - length :]
    first = logits.shape[1] - length
    wanted = torch.full(logits.shape[:2], IGNORE_INDEX, dtype=labels.dtype, device=labels.device)
    if shifts:
        wanted[:, first : first + length - 1] = labels[:, 1:]
        if first:
            wanted[:, first - 1] = labels[:, 0]
    else:
        wanted[:, first:] = labels
    # Some mark what is not scored by another negative number.
    positions = wanted >= 0
    return Alignment(positions, wanted[positions])


def without_unscored_first(loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the labels, ignoring the first where logits stand in front of it that the loss does not score it on.

    Prompt tuning scores it on them; a model that puts its image there (GIT) cuts them off before it shifts.

    Args:
        loss: Of a model whose logits these are.
        logits: (rows, positions, vocabulary).
        labels: (rows, tokens).
    """
    front = by_position(logits).shape[1] - labels.shape[-1] if labels.dim() > 1 else 0
    if front < 1 or not bool((labels[:, 0] >= 0).any()):
        return labels
    cut = labels.clone()
    cut[:, 0] = IGNORE_INDEX
    seen = _gradient_at(loss, logits)
    if seen is not None:
        return labels if bool(seen[:, front - 1].any()) else cut
    found = [token_nats(logits.detach(), align(logits, each, shifts=True)).mean() for each in (labels, cut)]
    error, error_cut = (abs(float(loss.detach()) - float(each)) for each in found)
    return labels if error <= error_cut else cut


def _gradient_at(loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor | None:
    """Return the loss's gradient at the logits, whose graph is kept; None where none can be seen."""
    edges = [torch.autograd.graph.GradientEdge(node, output) for node, output in gradient_nodes(logits)]
    if not edges or not loss.requires_grad:
        return None
    gradients = torch.autograd.grad(loss, edges, allow_unused=True, retain_graph=True)
    return next((gradient for gradient in gradients if gradient is not None), None)


def token_nats(logits: torch.Tensor, alignment: Alignment) -> torch.Tensor:
    """Return each target's negative log-likelihood, nats, (targets,), in float64 where the device has it."""
    pieces = [*_pieces(logits, alignment)]
    if len(pieces) > len(alignment.positions) and logits.requires_grad:
        # What backward needs of the wide copies would be twice the logits: it makes them again, piece by piece.
        again = partial(checkpoint, _nats, use_reentrant=False, preserve_rng_state=False)
        parts = [again(*piece) for piece in pieces]
    else:
        parts = [_nats(*piece) for piece in pieces]
    return torch.cat(parts) if parts else logits.new_zeros(0, dtype=_float_dtype(logits.device))


def _nats(logits: torch.Tensor, chosen: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits[chosen].to(_float_dtype(logits.device)), targets, reduction="none")


def _pieces(logits: torch.Tensor, alignment: Alignment) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield logits, which of them are scored, and the targets, in pieces: a wide copy of all may exceed the model.

    Pieces are slices, whose gradients are put together once; each selection would make one as large as the row.
    """
    most = max(1, PIECE // logits.shape[-1])
    for row, chosen, targets in zip(by_position(logits), *_by_row(alignment)):
        places = torch.split(chosen, most)
        wanted = torch.split(targets, [int(each.sum()) for each in places])
        yield from (piece for piece in zip(torch.split(row, most), places, wanted) if len(piece[2]))


def _scored(logits: torch.Tensor, alignment: Alignment) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the logits that are scored, and their targets, in pieces."""
    for piece, chosen, targets in _pieces(logits, alignment):
        yield piece[chosen], targets


def _largest(scored: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the size of every target's largest logit that has a share in its loss, (targets,).

    What a model masks, often by the smallest number of the dtype, has none: no rounding of it is seen.
    """
    high, low = scored.amax(1), scored.amin(1)
    if bool((high - low <= NO_SHARE).all()):
        return torch.maximum(high.abs(), low.abs())
    has_share = scored >= (high - NO_SHARE)[:, None]
    has_share[torch.arange(len(targets)), targets] = True
    return torch.where(has_share, scored.abs(), 0).amax(1)


def measure(logits: torch.Tensor, alignment: Alignment, *, blur: float = 0.0) -> tuple[list[float], float]:
    """Return the summed negative log-likelihood of every row, and by how much rounding may change S, nats.

    Rounding grows with the size of the logits and not with the loss: of rows that are nearly known by heart it is a
    large share. What float32 made of the same logits is measured, and no less is allowed for than half a unit in the
    last place of every target's largest logit: one sum can come out exact by chance.

    Args:
        logits: (rows, positions, vocabulary).
        alignment: Which of them score what.
        blur: Relative error that the logits themselves may have.
    """
    rounded = largest = 0.0
    wide = _float_dtype(logits.device)
    exact: list[torch.Tensor] = []
    for scored, targets in _scored(logits.detach(), alignment):
        exact.append(cross_entropy(scored.to(wide), targets, reduction="none"))
        rounded += float(cross_entropy(scored.float(), targets, reduction="sum"))
        largest += float(_largest(scored, targets).to(wide).sum())
    nats = torch.cat(exact) if exact else logits.new_zeros(0, dtype=wide)
    sums = [float(row.sum()) for row in torch.split(nats, alignment.counts)]
    unit = torch.finfo(torch.float32).eps / 2
    return sums, max(abs(rounded - float(nats.sum())), (unit + blur) * largest)


def sum_nats(logits: torch.Tensor, labels: torch.Tensor, *, shifts: bool) -> torch.Tensor:
    """Return the summed negative log-likelihood, nats, and keep its graph."""
    return token_nats(logits, align(logits, labels, shifts=shifts)).sum()


def row_sums(logits: torch.Tensor, labels: torch.Tensor, *, shifts: bool) -> list[float]:
    """Return the summed negative log-likelihood of every row, nats."""
    return [float(sum_nats(logits[i : i + 1], labels[i : i + 1], shifts=shifts)) for i in range(len(labels))]


@dataclass(frozen=True)
class FoundAlignment:
    """Whether a loss that is not plain cross-entropy shifts the labels.

    Attributes:
        shifts: It does; also where nothing tells.
        is_clear: The gradient says so.
        supported: Positions on whose logits the loss depends, (rows, positions); None where that was not seen.
    """

    shifts: bool
    is_clear: bool
    supported: torch.Tensor | None = None


def find_alignment(loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> FoundAlignment:
    """Find the alignment whose cross-entropy has, row by row, the direction of a loss's gradient at the logits.

    Positions without gradient are no evidence. Rows may be wanted or unwanted, as those of pairs are.

    Args:
        loss: With its graph, which is kept.
        logits: (rows, positions, vocabulary) or (rows, classes), of that graph.
        labels: (rows, tokens).
    """
    seen = _gradient_at(loss, logits)
    if seen is None:
        return FoundAlignment(shifts=True, is_clear=False)
    shares, signed = {}, {}
    for shifts in (True, False):
        along = whole = sizes = 0.0
        for row, gradient, chosen, targets in zip(
            by_position(logits.detach()), by_position(seen), *_by_row(align(logits, labels, shifts=shifts))
        ):
            direction = torch.softmax(row[chosen].float(), -1)
            direction[torch.arange(len(targets)), targets] -= 1
            product = float((gradient[chosen].float() * direction).sum())
            along, whole = along + abs(product), whole + product
            sizes += float(gradient.float().norm() * direction.norm())
        shares[shifts], signed[shifts] = (along / sizes, whole / sizes) if sizes else (0.0, 0.0)
    best = shares[True] >= shares[False]
    is_clear = shares[best] > MOST_OF_IT and shares[best] > CLEARLY_MORE * shares[not best]
    is_clear = is_clear or (signed[best] > NEARLY_ALL and signed[not best] < 0)
    return FoundAlignment(best or not is_clear, is_clear, seen.ne(0).any(-1))


def _by_row(alignment: Alignment) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Return the scored positions and the targets of every row."""
    return alignment.positions, torch.split(alignment.targets, alignment.counts)


def gradient_nodes(logits: torch.Tensor) -> list[tuple[Node, int]]:
    """Return the places of the graph where the gradient of these logits can be seen: (node, output number).

    Mixed precision hands out a float32 copy of the logits *after* the loss was taken from the original, and no
    gradient reaches a copy; so the chain of casts is followed to the original.
    """
    nodes: list[tuple[Node, int]] = []
    node, output = logits.grad_fn, logits.output_nr
    while node is not None:
        nodes.append((node, output))
        if "ToCopy" not in node.name():
            break
        node, output = node.next_functions[0]
    return nodes


@dataclass(frozen=True)
class TargetWeight:
    """The weight that each target received in backward.

    Attributes:
        weight: Least-squares fit over the micro-batch's targets.
        spread: Largest deviation from it, relative to the largest gradient.
    """

    weight: float
    spread: float


def fit_weight(gradients: torch.Tensor, directions: torch.Tensor) -> TargetWeight | None:
    """Fit gradients = weight × directions.

    Args:
        gradients: ∂L/∂logit_y of every target y, (targets,).
        directions: The same derivative of the target's own loss: p_y − 1 for plain cross-entropy.
    """
    gradients, directions = gradients.double(), directions.double()
    square = float(directions @ directions)
    if not square or not torch.isfinite(gradients).all():
        return None
    weight = float(gradients @ directions) / square
    largest = abs(weight) * float(directions.abs().max())
    spread = float((gradients - weight * directions).abs().max()) / largest if largest else 0.0
    return TargetWeight(weight, spread)


class LogitsReader:
    """Watches one forward and backward through the logits: S, and ∂L/∂logit_y of every target.

    It reads; nothing of the training changes.

    Attributes:
        noise_nats: By how much rounding may change S.
        trouble: Why the gradient could not be read.
    """

    def __init__(self, labels: torch.Tensor, *, shifts: bool) -> None:
        self.labels = labels
        self.shifts = shifts
        self.noise_nats = 0.0
        self.trouble: Exception | None = None
        self._alignment: Alignment | None = None
        self._nats: torch.Tensor | None = None
        # Targets that are scored, (targets,): all, until backward passes by those on logits in front of the labels.
        self._scored: torch.Tensor | None = None
        self._gradients: dict[int, torch.Tensor] = {}

    def read(self, logits: torch.Tensor, *, blur: float = 0.0) -> None:
        """Read the logits of a forward and wait for their gradient.

        Args:
            logits: (rows, positions, vocabulary).
            blur: Relative error that they may have.
        """
        self._alignment = align(logits, self.labels, shifts=self.shifts)
        self._nats = token_nats(logits.detach(), self._alignment)
        self._scored = torch.ones_like(self._nats, dtype=torch.bool)
        pieces = _scored(logits.detach(), self._alignment)
        largest = sum(float(_largest(scored, targets).double().sum()) for scored, targets in pieces)
        self.noise_nats = largest * (torch.finfo(torch.float32).eps / 2 + blur)
        self._gradients = {}
        for number, (node, output) in enumerate(gradient_nodes(logits)):
            node.register_prehook(self._receiver(number, output))

    @property
    def sum_nats(self) -> float | None:
        """S; None where no logits were read."""
        return None if self._nats is None else float(self._nats[self._scored].sum())

    @property
    def num_targets(self) -> int | None:
        """Targets that were scored; None where no logits were read."""
        return None if self._scored is None else int(self._scored.sum())

    @property
    def directions(self) -> torch.Tensor | None:
        """p_y − 1 of every target y, (targets,)."""
        return None if self._nats is None else torch.exp(-self._nats[self._scored]) - 1

    def _receiver(self, number: int, output: int) -> Callable[[tuple[torch.Tensor, ...]], None]:
        def receive(gradients: tuple[torch.Tensor | None, ...]) -> None:
            gradient = gradients[output]
            if gradient is None:
                return
            try:
                # Several backwards through the same logits add up.
                found = self._at_targets(gradient)
                self._gradients[number] = self._gradients[number] + found if number in self._gradients else found
            except Exception as error:  # the training goes on, whatever becomes of the watching
                self.trouble = error

        return receive

    def _at_targets(self, gradient: torch.Tensor) -> torch.Tensor:
        """Take ∂L/∂logit_y of every target out of the logits' gradient; see which of them were scored."""
        assert self._alignment is not None
        gradient = by_position(gradient)
        rows, positions = self._alignment.positions.nonzero(as_tuple=True)
        front = gradient.shape[1] - (self.labels.shape[1] if self.labels.dim() > 1 else 1)
        if front > 0 and not bool(gradient[:, front - 1].any()):
            self._scored = positions >= front
        return gradient[rows, positions, self._alignment.targets]

    def weight(self, scale: float = 1.0) -> TargetWeight | None:
        """Return the weight in backward; None if no gradient passed through the logits.

        Args:
            scale: Factor by which mixed precision scaled the loss before backward.
        """
        directions = self.directions
        if not self._gradients or directions is None or not len(directions):
            return None
        # What reaches a float32 copy of the logits goes on to the original, rounded; that has it all.
        copied, original = (
            self._gradients[each][self._scored].double() for each in (min(self._gradients), max(self._gradients))
        )
        is_whole = float((copied - original).norm()) <= SAME_AS_ITS_COPY * float(original.norm())
        return fit_weight((copied if is_whole else original) / scale, directions)
