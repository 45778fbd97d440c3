"""Weights that FSDP2 has spread over two processes: a training that is watched stays the same, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.measure.together import CAN_SPREAD

MAIN = """
import json, os, sys, tempfile, warnings
warnings.filterwarnings("ignore")
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from transformers.distributed import DistributedConfig
from gacheck.watch.probe import Probe
from gacheck.watch.world import World

SIZES = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, vocab_size=64)
generator = torch.Generator().manual_seed(1)
rows = []
for number in range(32):
    ids = torch.randint(0, 64, (8,), generator=generator)
    labels = ids.clone()
    labels[: number % 6] = -100
    rows.append({"input_ids": ids, "labels": labels})


def train(folder, observed_steps):
    args = TrainingArguments(
        folder, use_cpu=True, report_to="none", per_device_train_batch_size=2, gradient_accumulation_steps=2,
        max_steps=3, save_strategy="no", disable_tqdm=True, logging_strategy="no",
    )
    torch.manual_seed(0)
    whole = LlamaForCausalLM(LlamaConfig(**SIZES))
    spread = DistributedConfig(fsdp_size=2)
    model = LlamaForCausalLM.from_pretrained(
        None, config=whole.config, state_dict=whole.state_dict(), distributed_config=spread
    )
    trainer = Trainer(model, args, train_dataset=rows)
    probe = None
    if observed_steps:
        probe = Probe(trainer, shifts=True, observed_steps=observed_steps, exchange=World().exchange)
    trainer.train()
    return [each.to_local().detach().clone() for each in model.parameters()], probe


with tempfile.TemporaryDirectory() as folder:
    alone, _ = train(folder, 0)
    watched, probe = train(folder, 2)
told = {
    "same": all(map(torch.equal, alone, watched)),
    "parts": [list(each.shape) for each in watched][:1],
    "unseen": probe.unseen,
    "observed": [len(step.gradients) > 0 for step in probe.steps],
}
everybody = [None, None]
torch.distributed.all_gather_object(everybody, told)
if torch.distributed.get_rank() == 0:
    print("TOLD" + json.dumps(everybody), flush=True)
torch.distributed.barrier()
os._exit(0)
"""


@pytest.mark.skipif(not CAN_SPREAD, reason="this transformers cannot spread weights over processes")
def test_a_watched_training_stays_the_same_bit_for_bit(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(MAIN, encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        torchrun,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.partition("TOLD")[2].splitlines()[0])
    wanted = {"same": True, "parts": [[32, 32]], "unseen": [], "observed": [True, True, False]}
    assert told == [wanted, wanted]
