"""Works out what a run would take on many GPUs, and writes docs/scale.md. Nothing of it is measured.

make scale
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parent / "scale.md"

ACCUMULATION_STEPS, FLAGS, STEPS, OBSERVED = (1, 2, 4, 8), 2, 8, 2
"""A run's defaults."""
GPU_BYTES = 80e9
GPU_BYTES_PER_SECOND = 3.35e12
DISK_BYTES_PER_SECOND = 5e9
LINK_BYTES_PER_SECOND = {8: 450e9, 64: 50e9}
"""Within one machine of eight GPUs; between machines, for each GPU."""
SIZES = {"9 B": 9e9, "32 B": 32e9, "70 B": 70e9, "405 B": 405e9, "1 T": 1e12}
NUM_GPUS = (8, 64)


@dataclass(frozen=True)
class Case:
    """A model over some GPUs.

    Attributes:
        num: Its parameters.
        gpus: Over which FSDP2 spreads them.
        bytes_each: Of one parameter: 4 in float32, 2 in bfloat16.
        copy: Whether a copy of the weights is kept in memory.
    """

    num: float
    gpus: int
    bytes_each: int = 4
    copy: bool = True

    @property
    def share(self) -> float:
        """The weights that one GPU holds, bytes."""
        return self.num * self.bytes_each / self.gpus

    @property
    def state(self) -> float:
        """Weights, gradients, two moments of AdamW, and the copy, bytes on one GPU."""
        return self.share * (4 + self.copy)

    @property
    def restore_seconds(self) -> float:
        """To put the weights back before a pass: from the copy, read and written, or from the disk."""
        return self.share * 2 / GPU_BYTES_PER_SECOND if self.copy else self.share / DISK_BYTES_PER_SECOND

    @property
    def traffic(self) -> float:
        """Of a whole run, bytes that one GPU receives: weights gathered twice a micro-batch, gradients scattered once.

        A micro-batch that is observed is repeated twice, for the gradient of each process in its turn.
        """
        num_micro_batches = sum(ACCUMULATION_STEPS) * FLAGS
        forwards = 2 * num_micro_batches * (STEPS + 2 * OBSERVED * self.gpus)
        backwards = num_micro_batches * (STEPS + 2 * OBSERVED * self.gpus)
        return (forwards + backwards) * self.num * self.bytes_each * (self.gpus - 1) / self.gpus

    @property
    def traffic_seconds(self) -> float:
        """At the speed of the slowest link."""
        return self.traffic / LINK_BYTES_PER_SECOND[self.gpus]


def size(number: float) -> str:
    """Render bytes."""
    return f"{number / 1e12:,.1f} TB" if number >= 1e12 else f"{number / 1e9:,.0f} GB"


def time(seconds: float) -> str:
    """Render a time."""
    if seconds < 1:
        return f"{seconds * 1000:,.0f} ms"
    return f"{seconds:,.0f} s" if seconds < 600 else f"{seconds / 3600:,.1f} h"


def rows() -> Iterator[str]:
    """Yield the rows of the table."""
    for name, num in SIZES.items():
        for gpus in NUM_GPUS:
            usual, smallest = Case(num, gpus), Case(num, gpus, bytes_each=2, copy=False)
            fits = "yes" if usual.state < GPU_BYTES else "bfloat16" if smallest.state < GPU_BYTES else "no"
            cells = [name, str(gpus), size(usual.state), size(smallest.state), fits]
            cells += [time(usual.restore_seconds), time(smallest.restore_seconds)]
            cells += [size(usual.traffic), time(usual.traffic_seconds)]
            yield f"| {' | '.join(cells)} |"


TEXT = """<!-- Made by docs/make_scale.py: run  make scale  instead of editing. -->

# Large models, many GPUs

**First ask whether you need them.** The faults are in code, not in weights: `gacheck run ORGANISATION/NAME --tiny`
takes a model's own config, makes it small and judges the same class, with the same Trainer, in half a minute on a
laptop. That answers whether the class, the release and your Trainer are right. It says nothing of what only the real
thing has: several processes, sharding, mixed precision on a GPU, adapters, your data. For the training that you have,
where you have it, there is `gacheck attach`, which keeps no copy of the weights: see [attach](attach.md).

What follows is worked out, not measured, by `make scale`: for `gacheck run --shard fsdp` with its defaults (k =
{steps}, flag on and off, {num_steps} steps of which {observed} are observed, AdamW), on GPUs of {gpu}, {gpu_speed} a
second, a disk of {disk_speed} a second, and {link_8} a second between eight GPUs of one machine, {link_64} for each
GPU between machines.

| parameters | GPUs | state, float32 | bfloat16, `--low-memory` | fits | put back | from disk | traffic | takes |
|---|---:|---:|---:|---|---:|---:|---:|---:|
{rows}

- **State**: the weights, a gradient and two moments for each, and the copy that every pass begins with: 5 numbers a
  parameter, 4 with `--low-memory`. What a micro-batch keeps for its backward comes on top; where gacheck can estimate
  that, it does so before the first pass, and refuses what cannot fit.
- **Put back**: between two passes, from the copy on the GPU, or from the file that `--low-memory` keeps in the
  temporary folder.
- **Traffic**: FSDP2 gathers the weights for every forward and every backward, and scatters the gradients. The
  micro-batches of the observed steps are repeated twice, once for each process in its turn, so that this grows with
  the number of GPUs: for 64 of them take one k, as with `-k 4 --loss-kwargs on`: 4 micro-batches a step in place of
  30.
- **Loading**: each process holds the whole model once while it is loaded. On a machine of eight GPUs that is eight
  times the weights in its memory: 288 GB for 9 B in float32. This is what limits `--shard fsdp` first.

## Several machines, under Slurm

    head=$(scontrol show hostnames $SLURM_JOB_NODELIST | head -n 1)
    {srun}

The first process writes, so `--out` has to be a folder that is kept when the job ends; it need not be shared. A job
that ran into its time limit goes on with `--resume`: SIGTERM ends a run like Ctrl-C.

## What was run, and what was not

Two and four processes on one machine, on the CPU, over gloo, by DDP, two by FSDP2 and by tensor parallelism: see
[processes](processes.md). A Llama of 350 million parameters in one process, in float32 with the defaults: `make
bench-large` prints what its eight passes took and what they were estimated to take. No GPU, no NCCL, no second
machine, nothing of the table. `make test-gpu` holds what is to be run where there is a GPU, and says so where there is
none.
"""


SRUN = (
    "srun torchrun --nnodes $SLURM_NNODES --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint $head:29500 "
    "-m gacheck run MODEL --shard fsdp --out FOLDER"
)
"""With one task on each machine."""


def main() -> None:
    """Write the page."""
    text = TEXT.format(
        srun=SRUN,
        steps=", ".join(map(str, ACCUMULATION_STEPS)),
        num_steps=STEPS,
        observed=OBSERVED,
        gpu=size(GPU_BYTES),
        gpu_speed=size(GPU_BYTES_PER_SECOND),
        disk_speed=size(DISK_BYTES_PER_SECOND),
        link_8=size(LINK_BYTES_PER_SECOND[8]),
        link_64=size(LINK_BYTES_PER_SECOND[64]),
        rows="\n".join(rows()),
    )
    PAGE.write_text(text, encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
