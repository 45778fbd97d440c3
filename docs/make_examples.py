"""Makes what README and docs show: runs gacheck under real transformers releases and inserts what it printed.

    docs/examples/NAME.txt   the command and its output, 80 columns
    docs/examples/loss.png   the picture of the run named in PICTURE
    README.md, docs/*.md     between `<!-- example: NAME -->` and `<!-- end -->`;
                             `<!-- example: NAME verdict -->` takes the verdict alone,
                             `<!-- example: NAME table -->` the table alone,
                             `<!-- example: NAME lines: TEXT -->` the lines that hold the text

Each run starts in a folder that holds copies of the modules in docs/examples and nothing else. The output stands as it
was printed, its seconds too; only the date in the name of the run's folder is replaced.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
EXAMPLES = CHECKOUT / "docs" / "examples"
PAGES = (CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md")))
NEWEST = "newest"

BLOCK = re.compile(r"(<!-- example: (\S+)( verdict| table| lines: [^>\n]+)? -->\n).*?(<!-- end -->)", re.DOTALL)
VERDICT = re.compile(r"^(?:OK|WARN|FAIL|\?) .*", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"^First-step loss\..*?\n\n.*?\n(?=\n)", re.MULTILINE | re.DOTALL)
# One run's folder ends with the month, day, hour and minute of its start.
FOLDER = re.compile(r"(gacheck-runs/[\w.-]+?)-\d{4}-\d{4}(?:-\d+)?/")
RELEASE = re.compile(r"\btransformers (\d+(?:\.\d+)+)")

COULD_NOT_RUN = (2, 4)

SURROUNDINGS = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # the models are tiny: more threads only get in each other's way
    "COLUMNS": "80",
    "PYTHONIOENCODING": "utf-8",
    "GITHUB_ACTIONS": "",  # where it is `true`, `gacheck smoke` adds to its output
}


@dataclass(frozen=True)
class Example:
    """One run: under which transformers release, and what a person types."""

    name: str
    release: str
    command: tuple[str, ...]


def example(name: str, release: str, arguments: str) -> Example:
    return Example(name, release, ("gacheck", *arguments.split()))


SMOOTH = "run --model tiny:llama --label-smoothing-factor 0.1"
OWN_LOSS = "run --model tiny:llama --compute-loss-func"
AUXILIARY = (
    "run --model tiny:mixtral --config-override output_router_logits=true --config-override router_aux_loss_coef=0.5"
)
RUNS = (
    example("gemma3-4.50.3", "4.50.3", "run --model tiny:gemma3"),
    example("gemma3-newest", NEWEST, "run --model tiny:gemma3"),
    example("gemma3-4.57.6", "4.57.6", "run --model tiny:gemma3 --verbose"),
    example("llama-4.57.6", "4.57.6", "run --model tiny:llama"),
    example("xlnet-newest", NEWEST, "run --model tiny:xlnet"),
    example("gpt2-4.46.1", "4.46.1", "run --model tiny:gpt2"),
    example("smoothing-newest", NEWEST, SMOOTH),
    example("smoothing-4.50.3", "4.50.3", SMOOTH),
    example("aux-newest", NEWEST, AUXILIARY),
    example("loss-func-newest", NEWEST, f"{OWN_LOSS} my_loss:batch_mean"),
    example("unexplained-newest", NEWEST, "run --model tiny:llama --trainer-class my_trainer:ForgetfulTrainer"),
    example("rejected-newest", NEWEST, "run --model tiny:llama --model-class my_model:StrictLlamaForCausalLM"),
    example("nonfinite-newest", NEWEST, "run --model tiny:llama --learning-rate 1e30"),
    example("inconclusive-newest", NEWEST, "run --model tiny:llama --loss-kwargs off"),
    example("bart-4.50.3", "4.50.3", "run --model tiny:bart --short-last-step"),
    example("llama-4.46.0", "4.46.0", "run --model tiny:llama --short-last-step"),
    example("selftest-newest", NEWEST, "selftest --verbose"),
    example("packed-4.57.6", "4.57.6", "run --model tiny:gemma3 --packing"),
    example("smoke-newest", NEWEST, "smoke"),
    example("smoke-4.50.3", "4.50.3", "smoke"),
    example("attach-newest", NEWEST, "attach -- python my_training.py"),
)
PICTURE = "gemma3-4.50.3"


def run(each: Example, folder: Path) -> str:
    """Run one example in a folder; return the command and what it printed, normalised.

    Raises:
        RuntimeError: It gave no verdict.
    """
    program, *arguments = each.command
    executables = _executables(each.release)
    done = subprocess.run(
        [str(executables / program), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, **SURROUNDINGS, "PATH": f"{executables}{os.pathsep}{os.environ['PATH']}"},
    )
    if done.returncode in COULD_NOT_RUN or not done.stdout:
        raise RuntimeError(f"{each.name} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    # What stands on stdout is then the training's own.
    output = done.stderr[done.stderr.rindex("\ngacheck ") + 1 :] if arguments[0] == "attach" else done.stdout
    return f"$ {folded(shlex.join(each.command))}\n{normalise(output)}"


def folded(command: str) -> str:
    """Break a command that is wider than the terminal before an option, as a shell reads it."""
    if len(command) <= 78:
        return command
    first, *options = command.split(" --")
    return " \\\n    --".join((" --".join((first, *options[:1])), *options[1:]))


def _executables(release: str) -> Path:
    if release == NEWEST:
        return Path(sys.executable).parent
    # The tests' environments serve here too. A script's own folder is on the path, the checkout is not.
    sys.path.insert(0, str(CHECKOUT))
    from tests.environments import environment_for

    return environment_for(release)


def normalise(text: str) -> str:
    """Replace the date in the name of the run's folder; nothing else is touched."""
    return "\n".join(line.rstrip() for line in FOLDER.sub(r"\1-1123-2114/", text).splitlines()) + "\n"


def release_of(text: str) -> str | None:
    """Return the transformers release that an output names; None where it names none."""
    found = RELEASE.search(text)
    return found[1] if found else None


def newest_releases(texts: dict[str, str]) -> set[str]:
    """Return the releases under which the examples of the newest release were made: one, if all were made together."""
    found = (release_of(texts[each.name]) for each in RUNS if each.release == NEWEST and each.name in texts)
    return {release for release in found if release is not None}


def insert(page: str, texts: dict[str, str]) -> str:
    """Fill the blocks of a page.

    Raises:
        KeyError: A block names an example that there is not.
    """

    def fill(block: re.Match[str]) -> str:
        start, name, part, end = block.groups(default="")
        text = texts[name]
        return f"{start}```text\n{_part(text, part.strip())}```\n{end}"

    return BLOCK.sub(fill, page)


def _part(text: str, part: str) -> str:
    """Return what a block asks for; everything if it names no part."""
    if part.startswith("lines: "):
        return lines(text, part.removeprefix("lines: "))
    if part:
        return cut(text, {"verdict": VERDICT, "table": TABLE}[part])
    return text


def lines(text: str, wanted: str) -> str:
    """Pick the lines that hold `wanted`.

    Raises:
        ValueError: None does.
    """
    found = [line for line in text.splitlines() if wanted in line]
    if not found:
        raise ValueError(f"no line holds {wanted!r}")
    return "\n".join(found) + "\n"


def cut(text: str, part: re.Pattern[str]) -> str:
    """Cut a part out of an output.

    Raises:
        ValueError: It is not there.
    """
    found = part.search(text)
    if found is None:
        raise ValueError(f"{part.pattern!r} finds nothing in {text[:100]!r}")
    return found.group()


def read_examples() -> dict[str, str]:
    """Return the texts by name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.glob("*.txt"))}


def main() -> None:
    """Run what is named on the command line, everything by default; then insert all texts."""
    names = sys.argv[1:] or [each.name for each in RUNS]
    EXAMPLES.mkdir(exist_ok=True)
    for each in RUNS:
        if each.name not in names:
            continue
        print(f"{each.name}: {shlex.join(each.command)}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            for module in EXAMPLES.glob("*.py"):
                shutil.copy(module, folder)
            text = run(each, Path(folder))
            (EXAMPLES / f"{each.name}.txt").write_text(text, encoding="utf-8")
            if each.name == PICTURE:
                (picture,) = Path(folder).glob("gacheck-runs/*/loss.png")
                shutil.copyfile(picture, EXAMPLES / "loss.png")
    texts = read_examples()
    if len(newest_releases(texts)) > 1:
        print(f"made under several newest releases, run all again: {sorted(newest_releases(texts))}", file=sys.stderr)
    for page in PAGES:
        page.write_text(insert(page.read_text(encoding="utf-8"), texts), encoding="utf-8")


if __name__ == "__main__":
    main()
