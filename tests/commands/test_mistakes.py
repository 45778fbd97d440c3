"""Wrong invocations of every command: one message that says what is wrong, the right exit code, nothing left."""

from __future__ import annotations

import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from gacheck.cli import main
from gacheck.commands import measuring

# What stands in the working folder; {} in an argument is that folder.
FILES: dict[str, bytes] = {
    "text.jsonl": b'{"text": "a"}\n',
    "broken.jsonl": b'{"text": "a"}\n{\n',
    "empty.txt": b"",
    "notes.doc": b"words",
    "alpaca.jsonl": b'{"instruction": "do", "output": "it is done"}\n',
    "numbers.jsonl": b'{"text": 1}\n',
    "body.csv": b"body\nsome words\n",
    "list.yaml": b"- 1\n",
    "bad.yaml": b"a: [\n",
    "tab.yaml": b"max_steps: 3\n\tseed: 1\n",
    "twice.yaml": b"seed: 1\nmax_steps: 3\nseed: 2\n",
    "k_twice.yaml": b"k: [1, 2]\ngradient-accumulation-steps: 4\n",
    "day.yaml": b"model: 2024-13-45\n",
    "brackets.yaml": b"model: " + b"[" * 20_000 + b"\n",
    "digits.yaml": b"seed: " + b"9" * 5_000 + b"\n",
    "bomb.yaml": b"a: &a [x, x]\nb: &b [*a, *a]\nmodel: [*b, *b]\n",
    "huge.yaml": b"model: " + b"x" * 1_000_000,
    "nested.yaml": b"run:\n  max_steps: 3\n",
    "deep.yaml": b"max_steps: {least: 3}\n",
    "hollow.yaml": b"max_steps:\n",
    "latin.yaml": b"model: caf\xe9\n",
    "unknown.yaml": b"max_stepz: 3\n",
    "wrong.yaml": b"seed: many\n",
    "dashed.yaml": b"max-steps: 0\n",
    "k.yaml": b"k: [0]\n",
    "both.yaml": b"bf16: true\nfp16: true\n",
    "indivisible.yaml": b"effective_batch_size: 12\n",
    "model/notes.txt": b"no model here",
    "damaged/config.json": b"{",
    "untyped/config.json": b'{"model_type": "lama"}',
    "llama/config.json": b'{"model_type": "llama"}',
    "models/one/config.json": b"{}",
    "models/one/model.safetensors": b"",
    "adapter/adapter_config.json": b"{}",
    "run/record.json": b"{}",
    "foreign/record.json": b'{"kind": "a picnic"}',
    "newer/record.json": b'{"kind": "run", "schema_version": 99}',
    "torn/record.json": b'{"kind": "run", "sch',
    "locked": b"a file, not a folder",
    "broken.py": b"1 / 0\n",
    "slip.py": b"def f(:\n",
    "quits.py": b"import sys\n\nsys.exit(0)\n",
    "quits_later.py": b"def loss(outputs, labels, **counts):\n    raise SystemExit(1)\n",
    "needs.py": b"import no_such_package\n",
    "raises.py": b"raise RuntimeError('planted')\n",
    "mine.py": b"""
import transformers
from transformers import LlamaForCausalLM, Trainer

class InComputeLoss(Trainer):
    def compute_loss(self, model, inputs, *args, **kwargs):
        return [self.nothing for _ in "a"][0]

class InTraining(Trainer):
    def training_step(self, *args, **kwargs):
        raise ValueError("no step today")

class InMaking(Trainer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        raise OSError("nothing there")

class InItsDataLoader(Trainer):
    def get_train_dataloader(self):
        return {}["rows"]

class Ends(Trainer):
    def training_step(self, *args, **kwargs):
        exit(3)

class Demands(Trainer):
    def __init__(self, beta, *args, **kwargs):
        super().__init__(*args, **kwargs)

class Model(LlamaForCausalLM):
    def forward(self, *args, **kwargs):
        return len(None)

class InBuilding(LlamaForCausalLM):
    def __init__(self, config):
        super().__init__(config)
        self.heads = config.no_such_field

class NoModel:
    pass

class OutOfMemory(Trainer):
    def training_step(self, *args, **kwargs):
        raise MemoryError

def halves(outputs, labels):
    return outputs.loss / 2

def makes_loss():
    def loss(outputs, labels, num_items_in_batch=None):
        return 1 / 0
    return loss

divides = makes_loss()
number = 3
""",
}


@dataclass(frozen=True)
class Mistake:
    """What was typed, how the program ends, what it has to say, and what it must not.

    With a model it does one or two passes of one step.
    """

    typed: str
    exit_code: int
    said: tuple[str, ...]
    unsaid: tuple[str, ...] = ()


def mistake(typed: str, exit_code: int, *said: str, unsaid: tuple[str, ...] = ()) -> Mistake:
    return Mistake(typed, exit_code, said, unsaid)


TINY = "run tiny:llama"
SHORT = f"{TINY} --max-steps 1 -k 1,2 --effective-batch-size 2 --out mine"
# What no message may hold: jargon of ours and of pydantic's, and an advice that leads nowhere.
NEVER = ("Traceback", "cannot be planned", "pydantic", "Value error", "type=", "Errno", "effective_batch", "max_steps")
NEVER += ("per_device_train", "memory", "--help")

COMMAND_LINE = [
    mistake("rnu", 2, "no command 'rnu'", "did you mean gacheck run?"),
    mistake("measure", 2, "no command 'measure'", "choose one of run, report"),
    mistake("tiny:llama", 2, "gacheck run tiny:llama"),
    mistake("--nonsense", 2, "There is no option --nonsense of gacheck", unsaid=("Traceback",)),
    mistake("run --max-stepz 3", 2, "no option --max-stepz", "did you mean --max-steps?"),
    mistake("run --k 4", 2, "did you mean -k?"),
    mistake("run --batch-size 4", 2, "no option --batch-size"),
    mistake("run -k 1 2 4", 2, "-k 1,2,4"),
    mistake("run -k 1 2", 2, "-k 1,2"),
    mistake("run --loss-kwargs on off", 2, "--loss-kwargs on,off"),
    mistake("run tiny:llama --loss-kwargs on off", 2, "--loss-kwargs on,off"),
    mistake("run tiny:llama -k 1, 2", 2, "write -k 1,2"),
    mistake("run --bf16=maybe", 2, "--bf16 alone"),
    mistake("run TINY:llama", 2, "did you mean tiny:llama?"),
    mistake("run tiny:llama tiny:gemma3", 2, "'tiny:gemma3'", "leave it out"),
    mistake("run tiny:llama --model tiny:gemma3", 2, "tiny:llama, and --model tiny:gemma3", "gacheck run tiny:llama"),
    mistake("smoke tiny:llama --model tiny:gemma3", 2, "gacheck smoke tiny:llama"),
    mistake("run --model", 2, "'--model' requires an argument", "--model tiny:llama"),
    mistake("run --max-steps", 2, "--max-steps 8"),
    mistake("smoke --max-steps 3", 2, "no option --max-steps of gacheck smoke", "gacheck run has it"),
    mistake("smoke -k 2", 2, "no option -k of gacheck smoke", "gacheck run has it"),
    mistake("env --json", 2, "no option --json of gacheck env"),
    mistake("env torch", 2, "'torch'", "leave it out"),
    mistake("report run run", 2, "'run'", "leave it out"),
    mistake("report run --format jsno", 2, "'jsno'", "--format json"),
    mistake("schema recrod", 2, "'recrod'", "gacheck schema record"),
    mistake("schema", 2, "'DOCUMENT'", "gacheck schema record"),
    mistake("explain SCALD", 2, "no verdict code 'SCALD'", "gacheck explain"),
    mistake("models zzzz", 2, "'zzzz'", "gacheck models"),
    mistake("attach", 2, "no command to run", "gacheck attach -- python train.py"),
    mistake("attach -- no-such-program train.py", 2, "'no-such-program' cannot be started", "check the spelling"),
    mistake("attach -- ./broken.py", 2, "'./broken.py' cannot be started", "gacheck attach -- python ./broken.py"),
    mistake("attach -- train.py", 2, "'train.py' cannot be started", "gacheck attach -- python train.py"),
    mistake("attach --steps 0 -- python x.py", 2, "--steps 2"),
]

VALUES = [
    mistake(f"{TINY} -k two", 2, "-k two", "a whole number", "-k 1,2,4,8"),
    mistake(f"{TINY} -k 0,2", 2, "-k 0,2: 0 is below 1"),
    mistake(f"{TINY} -k 2,2", 2, "-k 2,2 names a value twice", "-k 2"),
    mistake(f"{TINY} -k ''", 2, "-k is empty", "-k 1,2,4,8"),
    mistake(f"{TINY} -k 7,11,13,16", 2, "-k 7,11,13,16", "16016 rows", "--per-device-train-batch-size 1"),
    mistake(f"{TINY} --effective-batch-size 12", 2, "--effective-batch-size 12", "--effective-batch-size 16"),
    mistake(f"{TINY} -k 1,3 --effective-batch-size 16", 2, "k = 3", "--effective-batch-size 18"),
    mistake("smoke --effective-batch-size 6", 2, "k = 4", "--effective-batch-size 8"),
    mistake(f"{TINY} --max-steps 1e3", 2, "--max-steps 1e3", "did you mean --max-steps 1000?", unsaid=("max_steps",)),
    mistake(f"{TINY} --max-steps many", 2, "--max-steps many", "a whole number", "--max-steps 8"),
    mistake(f"{TINY} --max-steps 2.5", 2, "a whole number"),
    mistake(f"{TINY} --max-steps -1", 2, "--max-steps -1", "at least 1"),
    mistake(f"{TINY} --max-steps 1000000000000", 2, "--max-steps 1000000000000", "--max-steps 8"),
    mistake(f"{TINY} --max-steps {'9' * 5000}", 2, "--max-steps 999"),
    mistake(f"{TINY} --max-steps ''", 2, "--max-steps is empty"),
    mistake(f"{TINY} --learning-rate -1", 2, "must be above 0"),
    mistake(f"{TINY} --learning-rate nan", 2, "--learning-rate nan", "--learning-rate 0.001"),
    mistake(f"{TINY} --max-length 4", 2, "must be at least 8", "--max-length 128"),
    mistake(f"{TINY} --seed many", 2, "--seed many", "a whole number", "--seed 0"),
    mistake(f"{TINY} --seed -5", 2, "--seed -5"),
    mistake(f"{TINY} --label-smoothing-factor 2", 2, "below 1", "--label-smoothing-factor 0.1"),
    mistake(f"{TINY} --loss-kwargs maybe", 2, "--loss-kwargs maybe", "one of on, off"),
    mistake(f"{TINY} --loss-kwargs true", 2, "did you mean --loss-kwargs on?"),
    mistake(f"{TINY} --loss-kwargs on,on", 2, "names a value twice", "--loss-kwargs on"),
    mistake(f"{TINY} --per-device-train-batch-size 2 --effective-batch-size 4", 2, "exclude each other", "leave out"),
    mistake(f"{TINY} --bf16 --fp16", 2, "--bf16 and --fp16 exclude each other"),
    mistake(f"{TINY} --short-last-step -k 1", 2, "--short-last-step", "-k 1,4"),
    mistake(f"{TINY} --dtype int8", 2, "--dtype int8", "bfloat16"),
    mistake(f"{TINY} --dtype bfloat61", 2, "did you mean --dtype bfloat16?"),
    mistake(f"{TINY} --config-override novalue", 2, "key=value", "--config-override num_hidden_layers=2"),
    mistake(f"{TINY} --config-override hidden_size=[", 2, "YAML"),
    mistake(f"{TINY} --config-override nope=1", 2, "no field 'nope'"),
    mistake(f"{TINY} --config-override attention_dropout=0.1", 2, "cannot be overridden"),
    mistake(f"{TINY} --device cuda:99", 2, "The Trainer trains on the first GPU that it sees, not on cuda:99."),
    mistake(f"{TINY} --device abacus", 2, "The device 'abacus' cannot be used", "--device cpu"),
    mistake(f"{TINY} --optim adamw_torc", 2, "no optimizer 'adamw_torc'", "did you mean --optim adamw_torch?"),
    mistake(f"{TINY} --optim lion_in_winter_8", 2, "no optimizer"),
    mistake(f"{TINY} --optim adamw_bnb_8bit", 2, "--optim adamw_bnb_8bit needs it", "pip install bitsandbytes"),
    mistake(f"{TINY} --optim schedule_free_adamw", 2, "pip install schedulefree"),
    mistake("run tiny:gpt2 --packing --max-length 4000 --max-steps 1 -k 1,2", 2, "--max-length 1024", "1024 tokens"),
    mistake("run tiny:gpt2 --max-length 4000 --max-steps 1 -k 1,2", 2, "--max-length 4000", "--max-length 2048"),
]

MODELS = [
    mistake("run tiny:", 2, "unknown", "tiny:llama"),
    mistake("run tiny:lama", 2, "did you mean tiny:llama"),
    mistake("smoke tiny:lama", 2, "tiny:llama"),
    mistake("run llama2", 4, "not in the cache"),
    mistake("run gpt2", 4, "not in the cache", "tiny:gpt2"),
    mistake("run ./nowhere", 2, "There is no model at ./nowhere"),
    mistake("run ./modle", 2, "did you mean model?"),
    mistake("run --model ./nowhere --out new", 2, "There is no model at ./nowhere"),
    mistake("smoke ./nowhere", 2, "There is no model at ./nowhere"),
    mistake("run --model ''", 2, "--model is empty"),
    mistake("run model", 2, "has no config.json"),
    mistake("run models", 2, "has no config.json", "models/one"),
    mistake("run models/one/model.safetensors", 2, "is a file", "gacheck run models/one"),
    mistake("run models/one/config.json", 2, "is a file", "gacheck run models/one"),
    mistake("run damaged", 2, "cannot be read"),
    mistake("run untyped", 2, "cannot be read"),
    mistake("run adapter", 2, "does not say which model"),
    mistake("run org/absent", 4, "not in the cache"),
    mistake("run a/b/c", 2, "There is no model at a/b/c"),
    mistake("run org/absent --trust-remote-code", 2, "pin the commit"),
    mistake("run models/one --revision main", 2, "--revision does not go with models/one", "leave --revision out"),
    mistake(f"{TINY} --revision main", 2, "--revision does not go with tiny:llama"),
    mistake(f"{TINY} --trust-remote-code", 2, "--trust-remote-code does not go with tiny:llama"),
]

OWN_CODE = [
    mistake(f"{TINY} --model-class NoColon", 2, "--model-class NoColon", "--model-class train:NoColon"),
    mistake(f"{TINY} --model-class no.such:Class", 2, "No module named 'no'", "PYTHONPATH"),
    mistake(f"{TINY} --trainer-class mien:InMaking", 2, "did you mean --trainer-class mine:InMaking?"),
    mistake(f"{TINY} --trainer-class mine:InMakin", 2, "mine has no InMakin", "--trainer-class mine:InMaking"),
    mistake(f"{TINY} --model-class collections:Nope", 2, "cannot be imported", "collections has no Nope"),
    mistake(f"{TINY} --model-class mine:NoModel", 2, "no subclass of transformers.PreTrainedModel", "mine:Model"),
    mistake(f"{TINY} --trainer-class mine:Model", 2, "no subclass of transformers.Trainer", "mine:InComputeLoss"),
    mistake(f"{TINY} --compute-loss-func mine:number", 2, "mine:number cannot be called: it is 3", "def loss(outputs"),
    mistake(f"{TINY} --compute-loss-func mine:halves", 2, "other arguments", "num_items_in_batch=None"),
    mistake(
        f"{TINY} --model-class broken:Class",
        2,
        "importing broken raised ZeroDivisionError: division by zero (broken.py:1), from --model-class.",
        "--traceback",
    ),
    mistake(f"{TINY} --trainer-class slip:C", 2, "SyntaxError", "(slip.py:1), from --trainer-class", "--traceback"),
    mistake(f"{TINY} --trainer-class needs:C", 2, "no_such_package is not installed", "pip install no_such_package"),
    mistake(
        f"{TINY} --model-class quits:Class", 2, "importing quits called sys.exit(0) (quits.py:3), from --model-class"
    ),
    mistake("smoke tiny:llama --compute-loss-func quits_later:loss", 2, "loss called sys.exit(1) (quits_later.py:2)"),
    mistake(
        f"{SHORT} --trainer-class mine:InComputeLoss",
        2,
        "InComputeLoss.compute_loss raised AttributeError: 'InComputeLoss' object has no attribute 'nothing' "
        "(mine.py:7), from --trainer-class.",
        "--traceback",
    ),
    mistake(
        f"{SHORT} --trainer-class mine:InMaking", 2, "InMaking.__init__ raised OSError: nothing there (mine.py:16)"
    ),
    mistake(f"{SHORT} --trainer-class mine:InItsDataLoader", 2, "InItsDataLoader.get_train_dataloader raised KeyError"),
    mistake(f"{SHORT} --trainer-class mine:Demands", 2, "Demands, from --trainer-class", "'beta'", "gacheck attach"),
    mistake(f"{SHORT} --model-class mine:Model", 2, "Model.forward raised TypeError", "from --model-class"),
    mistake(f"{SHORT} --model-class mine:InBuilding", 2, "InBuilding.__init__ raised AttributeError", "--model-class"),
    mistake(
        f"{SHORT} --compute-loss-func mine:divides", 2, "loss raised ZeroDivisionError", "from --compute-loss-func"
    ),
]

FAILING_PASSES = [
    mistake(
        f"{SHORT} --trainer-class mine:InTraining",
        2,
        "InTraining.training_step raised ValueError: no step today (mine.py:11), from --trainer-class.",
        "k1-on and k1-off failed alike",
        "--traceback",
    ),
    mistake(f"{SHORT} --trainer-class mine:InTraining --loss-kwargs on", 2, "k1-on and k2-on failed alike"),
    mistake(
        "smoke tiny:LlamaForSequenceClassification --trainer-class mine:InTraining",
        2,
        "InTraining.training_step raised ValueError: no step today (mine.py:11), from --trainer-class.",
    ),
    mistake(f"{SHORT} --trainer-class mine:Ends", 2, "Ends.training_step called sys.exit(3) (mine.py:24)"),
    mistake(f"{SHORT} --trainer-class mine:OutOfMemory", 4, "memory", "--effective-batch-size", unsaid=("Traceback",)),
    mistake("smoke tiny:llama --trainer-class mine:InTraining", 2, "InTraining.training_step raised ValueError"),
]

DATA = [
    mistake(f"{TINY} --dataset absent.jsonl", 2, "There is no file absent.jsonl", "check the path"),
    mistake(f"{TINY} --dataset txt.jsonl", 2, "did you mean --dataset text.jsonl?"),
    mistake(f"{TINY} --dataset empty.txt", 2, "is empty"),
    mistake(f"{TINY} --dataset notes.doc", 2, "has none of the endings"),
    mistake(f"{TINY} --dataset broken.jsonl", 2, "not valid JSON in line 2"),
    mistake(f"{TINY} --dataset text.jsonl", 2, "has 1 samples", "name more text"),
    mistake(f"{TINY} --dataset text.jsonl --text-column body", 2, "no column 'body'", "--text-column text"),
    mistake(f"{TINY} --dataset alpaca.jsonl --text-column outptu", 2, "--text-column output"),
    mistake(f"{TINY} --dataset body.csv", 2, "no column 'text'", "--text-column body"),
    mistake(f"{TINY} --dataset numbers.jsonl", 2, "not text"),
    mistake(f"{TINY} --dataset text.jsonl --split test", 2, "--split goes with a dataset on the hub"),
    mistake(f"{TINY} --dataset org/absent", 4, "HF_HUB_OFFLINE"),
    mistake(f"{TINY} --dataset model", 2, "is a folder"),
    mistake("smoke --dataset absent.txt", 2, "There is no file"),
]

CONFIGS = [
    mistake("run --config absent.yaml", 2, "cannot be read"),
    mistake("smoke --config absent.yaml", 2, "cannot be read"),
    mistake("run --config model", 2, "Is a directory", "name a YAML file"),
    mistake(f"run --config {'x' * 5000}", 2, "No file can have the name", "too long"),
    mistake(f"run --model {'x' * 5000}", 2, "No file can have the name", "too long"),
    mistake(f"{TINY} --dataset {'x' * 5000}", 2, "No file can have the name", "too long"),
    mistake("report /dev/null", 2, "/dev/null is no file", "record.json"),
    mistake("run --config .", 2, "Is a directory", "--config bad.yaml"),
    mistake("run --config bad.yaml", 2, "bad.yaml is not valid YAML", "fix line 2"),
    mistake("run --config tab.yaml", 2, "line 2", "tab", "spaces"),
    mistake("run --config list.yaml", 2, "holds a list, not a mapping"),
    mistake("run --config latin.yaml", 2, "UTF-8"),
    mistake("run --config twice.yaml", 2, "'seed' twice, in lines 1 and 3"),
    mistake("run --config k_twice.yaml", 2, "'k' and 'gradient-accumulation-steps'"),
    mistake("run --config day.yaml", 2, "day.yaml is not valid YAML: month must be in 1..12"),
    mistake("run --config brackets.yaml", 2, "brackets.yaml is not valid YAML"),
    mistake("run --config digits.yaml", 2, "digits.yaml is not valid YAML", "5000 digits"),
    mistake("run --config bomb.yaml", 2, "bomb.yaml is not valid YAML in line 2", "alias"),
    mistake("run --config huge.yaml", 2, "huge.yaml is larger than 1 MB"),
    mistake("run --config-override x=2024-13-45", 2, "'x=2024-13-45' cannot be read as YAML"),
    mistake("run --config nested.yaml", 2, "no option 'run' (nested.yaml)", "left margin"),
    mistake("run --config deep.yaml", 2, "deep.yaml: max_steps", "a whole number", unsaid=("--max-steps",)),
    mistake("run --config hollow.yaml", 2, "hollow.yaml: max_steps has no value", "max_steps: 8", unsaid=("--max-",)),
    mistake("run --config unknown.yaml", 2, "did you mean 'max_steps'", unsaid=("Traceback",)),
    mistake("run --config wrong.yaml", 2, "wrong.yaml: seed: many", "seed: 0"),
    mistake("run --config dashed.yaml", 2, "dashed.yaml: max-steps: 0", "max-steps: 8"),
    mistake("run --config k.yaml", 2, "k.yaml: k: 0: 0 is below 1", "k: 1,2,4,8"),
    mistake("run --config both.yaml", 2, "both.yaml: bf16 and fp16 exclude each other"),
    mistake("run --config indivisible.yaml", 2, "effective_batch_size: 12", "effective_batch_size: 16", unsaid=("--",)),
    # What is typed goes before the file, and is said as it was typed.
    mistake("run --config dashed.yaml --max-steps -3", 2, "--max-steps -3", unsaid=("max_steps",)),
]

FOLDERS = [
    mistake("run --out locked", 2, "locked cannot be written"),
    mistake(f"run --out {'x' * 300}", 2, "cannot be written"),
    mistake("run --out locked/below", 2, "cannot be written"),
    mistake("run --out ''", 2, "--out is empty"),
    mistake("run --out run", 2, "holds a record already"),
    mistake("run --out run --resume", 2, "no record of gacheck"),
    mistake("run --resume", 2, "--resume goes with --out", "--out FOLDER"),
    mistake("run --force", 2, "--force goes with --out"),
    mistake("run --out new --force --resume", 2, "--force and --resume exclude each other"),
    mistake("report", 2, "There is no run under gacheck-runs/", "gacheck run"),
    mistake("report absent", 2, "There is no run absent", "gacheck run"),
    mistake("report model", 2, "model holds no record.json", "gacheck run"),
    mistake("report .", 2, ". holds no record.json", "did you mean gacheck report torn?"),
    mistake("report run", 2, "no record of gacheck"),
    mistake("report foreign", 2, "no record of gacheck"),
    mistake("report newer", 2, "schema version 99", "upgrade gacheck"),
    mistake("report torn", 2, "damaged"),
    mistake("report text.jsonl", 2, "no record of gacheck"),
    mistake("report run --strict", 2, "--exit-code"),
]

MISTAKES = COMMAND_LINE + VALUES + MODELS + OWN_CODE + FAILING_PASSES + DATA + CONFIGS + FOLDERS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
        if name.endswith(".py"):
            monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    # Nothing is in the cache, whoever runs this.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path.with_name("no-cache")))
    return tmp_path


def contents(folder: Path) -> dict[str, bytes | None]:
    found = {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}
    # Python's own, of the module that is imported from the working folder.
    return {name: content for name, content in found.items() if "__pycache__" not in name}


def exit_code_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


# What it may hold after all, since it was typed or asked for.
ALLOWED_IN = {
    "--help": [each for each in COMMAND_LINE if each.typed in ("--nonsense", "run --batch-size 4", "env --json")],
    "max_steps": CONFIGS,
    "effective_batch": CONFIGS,
    "memory": FAILING_PASSES,
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda each: each.typed[:60])
def test_mistakes(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mistake: Mistake
) -> None:
    before = contents(folder)
    typed = shlex.split(mistake.typed)
    monkeypatch.setattr(sys, "argv", ["gacheck", *typed])

    assert exit_code_of(*typed) == mistake.exit_code
    shown = capfd.readouterr()
    said = re.sub(r"\s+", " ", shown.err)
    assert [part for part in mistake.said if part not in said] == [], said
    never = [part for part in NEVER if mistake not in ALLOWED_IN.get(part, ())]
    assert [part for part in (*never, *mistake.unsaid) if part in said.replace(mistake.typed, "")] == [], said
    assert shown.out == ""
    # A line a pass is no part of the message.
    lines = [line for line in shown.err.splitlines() if not line.startswith("pass ")]
    assert [line[:7] for line in lines] == ["gacheck", "  why  ", "  do   "]
    assert all(len(line) > 15 for line in lines)
    after = contents(folder)
    if mistake in FAILING_PASSES and "--out mine" in mistake.typed:
        after = {name: each for name, each in after.items() if not name.startswith("mine")}
        before.pop("mine.py")
    assert after == before


def test_there_are_many_and_each_is_another() -> None:
    assert len({each.typed for each in MISTAKES}) == len(MISTAKES) >= 80


def test_nothing_typed_at_all(capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of() == 2
    assert "Commands:" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["run", "smoke"])
def test_a_transformers_without_the_flag(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(measuring, "installed_version", lambda name: "4.45.2")
    before = contents(folder)

    assert exit_code_of(command) == 2
    shown = capsys.readouterr()
    assert "gacheck needs 4.46 or newer" in shown.err
    assert shown.out == ""
    assert contents(folder) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.chmod(0o555)
    try:
        assert exit_code_of("run") == 2
    finally:
        folder.chmod(0o755)
    assert "cannot be written" in capsys.readouterr().err
