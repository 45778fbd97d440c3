"""Models that somebody trained and saved, and adapters over them, give the verdict of their stand-ins.

A folder brings what a stand-in has not: a tokenizer, a processor, a generation config, weights that have learned
something, dropout. None of it may change what is found.
"""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.environments import CHECKOUT
from tests.releases.test_releases import NEWEST, run_in

pytestmark = pytest.mark.releases

VOCABULARY = 300
RIGHT = ("OK", 0, "token_mean")
# Release, folder → verdict, exit code, rule at k = 4 with the flag on; the same as in test_releases.py.
EXPECTED: dict[tuple[str, str], tuple[str, int, str]] = {
    (NEWEST, "llama"): RIGHT,
    (NEWEST, "gemma3"): RIGHT,
    ("4.50.3", "llama"): ("UNSHIFTED_TOKEN_COUNT", 0, "unshifted_token_mean"),
    ("4.50.3", "gemma3"): ("SCALED_BY_ACCUMULATION", 1, "sum_of_means"),
}
CLASSES = {"llama": "LlamaForCausalLM", "gemma3": "Gemma3ForConditionalGeneration"}


def make(out: str) -> None:
    """Train, save and adapt; runs inside the release whose folders they are to be."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Gemma3ImageProcessor

    from gacheck.measure.models.building import build_model
    from gacheck.measure.models.stand_in import tiny_config
    from gacheck.measure.models.tokenizer import train_tokenizer
    from gacheck.measure.text.sources import builtin_texts

    sentences = [s.strip() for t in builtin_texts() for s in t.split("\n\n") if 30 < len(s.strip()) < 300][:300]
    (Path(out) / "data.jsonl").write_text("".join(json.dumps({"body": s}) + "\n" for s in sentences))
    tokenizer = train_tokenizer(sentences, VOCABULARY)
    for model_type in CLASSES:
        folder = Path(out) / model_type
        config = tiny_config(model_type, VOCABULARY)
        config.get_text_config().attention_dropout = 0.1
        model = build_model(config, seed=1).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for sentence in sentences[:5]:
            ids = torch.tensor([tokenizer(sentence)["input_ids"]])
            more = {"token_type_ids": torch.zeros_like(ids)} if model_type == "gemma3" else {}
            model(input_ids=ids, labels=ids, **more).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if model_type == "gemma3":
            Gemma3ImageProcessor().save_pretrained(folder)
            processor = {"processor_class": "Gemma3Processor", "image_seq_length": 4}
            (folder / "processor_config.json").write_text(json.dumps(processor))
        # Not zero at the start, as adapters otherwise are: it is to have learned something too.
        lora = LoraConfig(
            r=4,
            lora_dropout=0.1,
            target_modules=["q_proj", "v_proj"],
            task_type="CAUSAL_LM",
            init_lora_weights=False,
        )
        adapted = get_peft_model(type(model).from_pretrained(folder), lora)
        adapted.save_pretrained(Path(out) / f"{model_type}-lora")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @cache
    def made(release: str) -> Path:
        out = tmp_path_factory.mktemp(f"made-by-{release}")
        script = f"from tests.releases.test_folders import make; make({str(out)!r})"
        done = run_in(release, "python", "-c", script, cwd=CHECKOUT)
        assert done.returncode == 0, done.stderr[-3000:]
        return out

    return made


@pytest.mark.parametrize("adapter", [False, True], ids=["model", "adapter"])
@pytest.mark.parametrize(
    ("release", "model_type"), [pytest.param(*key, marks=pytest.mark.xdist_group(key[0])) for key in EXPECTED]
)
def test_verdict(folders: Any, release: str, model_type: str, adapter: bool) -> None:
    made: Path = folders(release)
    code, exit_code, rule = EXPECTED[release, model_type]
    model = f"{model_type}-lora" if adapter else model_type
    data = ("--dataset", str(made / "data.jsonl"), "--text-column", "body")
    options = ("-k", "1,2,4", "--max-steps", "3", "--json", "--out", "run")
    with tempfile.TemporaryDirectory() as folder:
        command = ("gacheck", "run", "--model", str(made / model), *data, *options)
        done = run_in(release, *command, cwd=Path(folder))
        assert done.stdout, done.stderr
        record = json.loads((Path(folder) / "run" / "record.json").read_text())

    result = json.loads(done.stdout)
    assert (result["verdict"]["code"], done.returncode) == (code, exit_code)
    assert result["environment"]["transformers"] == release
    at_4 = {p["loss_kwargs"]: p for p in result["passes"] if p["accumulation_steps"] == 4}
    assert (at_4["on"]["rule"], at_4["off"]["rule"]) == (rule, "mean_of_means")
    assert at_4["on"]["match"]["backward_rule"] == rule
    facts = record["model"]
    assert (facts["class_name"], facts["random_weights"], facts["own_tokenizer"]) == (CLASSES[model_type], False, True)
    assert (facts["adapter"] is not None) == adapter


def test_the_hub_is_read_the_same_by_an_older_client() -> None:
    done = run_in("4.50.3", "python", "-m", "pytest", "tests/hub", cwd=CHECKOUT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
