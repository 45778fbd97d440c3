"""The Markdown: short, in one shape, and deaf to whatever names and error messages try."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from gacheck.record.kinds import AnyTrainingRecord
from gacheck.record.run import RunRecord
from gacheck.reporters.markdown import render_markdown
from gacheck.reporters.text import clean
from gacheck.words.analysis import analyse
from tests.builders import attached_run, failed_pass, full_run, pass_record, run_record
from tests.reporters.cases import RECORDS

# What render_markdown writes itself into a sentence, to break mentions, references and formulas.
OWN_HTML = {"<!-- -->", "<span>", "</span>"}
OWN_BLOCKS = {"<details>\n<summary>Environment</summary>\n", "</details>\n"}

NASTY = [
    "a | b",
    "\\|",
    "\\",
    "`",
    "``",
    "a`b``c",
    " `x` ",
    "  ",
    "```\n# forged heading\n```",
    "~~~~\nx\n~~~~",
    "</summary></details><script>alert(1)</script>",
    "<!-- swallow",
    "<img src=x onerror=alert(1)>",
    "&lt;b&gt; &#42;",
    "**bold** __bold__ *em* _em_ ~~s~~",
    "[link](http://x) ![image](http://x) [ref][1] <http://x>",
    "\n\n# heading\n\n- item\n\n> quote\n\n---\n\n| a |\n|---|\n",
    "\x1b[2J\x1b]0;t\x07\r\x00\u202e\udc80",
    "$\\frac{1}$ $$x$$",
    "-->",
    "<!-- @x #1",
]


def render(record: AnyTrainingRecord) -> str:
    return render_markdown(analyse(record))


def parse(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(text)


def nasty_run(text: str) -> RunRecord:
    """All words that come from outside are `text`, and its error is quoted by the verdict."""
    record = run_record([failed_pass(2, "on"), pass_record(2, "off", "mean_of_means")])
    failed = record.passes[0]
    assert failed.error is not None
    error = failed.error.model_copy(update={"kind": "Error", "message": text})
    oracle = record.oracle
    place = replace(oracle.loss_location[0], file=text, function=text)
    names = dict.fromkeys(("transformers", "torch", "accelerate", "peft"), text)
    return record.model_copy(
        update={
            "config": record.config.model_copy(update={"model": text}),
            "model": record.model.model_copy(update={"name": text, "class_name": text}),
            "hardware": record.hardware.model_copy(update={"device": text, "device_name": text, "dtype": text}),
            "environment": record.environment.model_copy(update={"platform": text, "packages": names}),
            "data": record.data.model_copy(update={"source": text}),
            "oracle": oracle.model_copy(update={"loss_location": (place,)}),
            "passes": (failed.model_copy(update={"error": error}), record.passes[1]),
        }
    )


def shape(text: str) -> list[str]:
    """Return the kinds of all elements; HTML by its words, which must be our own."""
    kinds = []
    for token in parse(text):
        kinds.append(token.content if token.type == "html_block" else f"{token.type} {token.tag} {token.info}")
        for child in token.children or []:
            if child.type == "html_inline":
                assert child.content in OWN_HTML
            elif child.type != "text":
                kinds.append(f"  {child.type}")
    return kinds


def visible(text: str) -> Iterator[str]:
    """Yield what a person reads, a paragraph, cell or block each."""
    for token in parse(text):
        if token.type == "inline":
            yield "".join(c.content for c in token.children or [] if c.type in ("text", "code_inline"))
        elif token.type == "fence":
            yield token.content


def cells(text: str) -> list[list[str]]:
    return [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("name", RECORDS)
def test_has_one_shape(name: str) -> None:
    text = render(RECORDS[name])

    found = parse(text)
    assert [t.tag for t in found if t.type == "heading_open"] == ["h3"]
    assert {t.content for t in found if t.type == "html_block"} == OWN_BLOCKS
    assert len({len(row) for row in cells(text)}) <= 1
    for label in ("**Why:** ", "**Training:** ", "**Fix:**", "To reproduce:"):
        assert len(re.findall(f"^{re.escape(label)}", text, re.MULTILINE)) == 1
    assert text.endswith("</details>\n")
    assert not any(line != line.rstrip() for line in text.splitlines())
    assert all(c.isprintable() or c == "\n" for c in text)
    assert len(text.split("<details>")[0].splitlines()) <= 45


def test_scaled_to_the_letter() -> None:
    shown, _, folded = render(RECORDS["scaled"]).partition("<details>")
    assert shown.splitlines()[:9] == [
        "### gacheck: FAIL SCALED_BY_ACCUMULATION: the loss is k times too large",
        "",
        "`Gemma3ForConditionalGeneration` (`tiny:gemma3`, tiny stand-in, random weights) · transformers 5.23.0 · "
        "torch 2.13.0 · accelerate 1.15.0 · gacheck 0.1.0 · cpu · float32",
        "",
        "| k | right answer | loss, flag on (default) | ratio | grad | rule | loss, flag off | ratio | grad | rule |",
        "| ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- |",
        "| 1 | 5.150 | 5.150 | 1.000 | 1.000 | right | 5.150 | 1.000 | 1.000 | right |",
        "| 2 | 5.150 | 10.358 | 2.011 | 1.667 | sum of means | 5.179 | 1.006 | 0.833 | mean of means |",
        "| 4 | 5.150 | 21.333 | 4.142 | 4.167 | sum of means | 5.333 | 1.036 | 1.042 | mean of means |",
    ]
    assert "```python\ntrainer.model_accepts_loss_kwargs = False  # before trainer.train()\n```" in shown
    assert "```sh\ngacheck run --model tiny:gemma3 --effective-batch-size 8 --max-steps 2\n```" in shown
    assert "python        3.11.7" in folded
    assert "\noptions       effective_batch_size=8 max_steps=2\n" in folded


def test_options_tell_what_a_yaml_file_may_have_held() -> None:
    record = RECORDS["scaled"]
    config = record.config.model_copy(update={"model": "other", "bf16": True, "gradient_accumulation_steps": (1, 2)})

    text = render(record.model_copy(update={"config": config}))

    assert "options       gradient_accumulation_steps=1,2 effective_batch_size=8 max_steps=2 bf16=True\n" in text


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("one flag", ["2", "5.150", "10.358", "2.011", "1.667", "sum of means"]),
        ("refused", ["2", "5.150", "failed", "", "", "", "5.179", "1.006", "0.833", "mean of means"]),
        ("partial", ["2", "5.150", "10.358", "2.011", "1.667", "sum of means", "not run", "", "", ""]),
        ("nan", ["2", "5.150", "nan", "–", "inf", "not finite", "5.179", "1.006", "0.833", "mean of means"]),
        ("all failed", ["2", "–", "failed", "", "", "", "failed", "", "", ""]),
    ],
)
def test_rows(name: str, row: list[str]) -> None:
    assert row in cells(render(RECORDS[name]))


def test_answers_that_differ_by_flag_are_both_there() -> None:
    analysis = analyse(RECORDS["scaled"])
    passes = tuple(
        replace(p, first=replace(p.first, reference_loss=10.3))
        if p.first and p.loss_kwargs == "off" and p.accumulation_steps > 1
        else p
        for p in analysis.passes
    )

    rows = cells(render_markdown(replace(analysis, passes=passes)))

    assert [row[1] for row in rows[2:4]] == ["5.150", "on 5.150, off 10.300"]


def test_a_partial_run_says_so() -> None:
    text = render(RECORDS["partial"])

    assert "(incomplete)" in text.splitlines()[0]
    assert "**Incomplete: 5 of 8 passes have run.**" in text
    assert "ncomplete" not in render(RECORDS["scaled"])


def test_each_reason_of_failure_is_said_once() -> None:
    text = render(RECORDS["all failed"])

    assert text.count("- failed, ") == 1
    assert "- failed, k=1, 2, 4, 8 on; k=1, 2, 4, 8 off: `OutOfMemoryError: out of memory`" in text


@pytest.mark.parametrize("text", NASTY)
def test_nasty_words_change_no_structure_and_are_read_as_they_are(text: str) -> None:
    assert shape(render(nasty_run(text))) == shape(render(nasty_run("harmless")))
    shown = list(visible(render(nasty_run(text))))
    word = clean(text)

    # Markdown drops spaces at the ends of a line.
    assert shown[1].strip().startswith(f"{word} (".lstrip())
    (why,) = (line for line in shown if line.startswith("Why: "))
    assert (
        why.removeprefix("Why: ")
        == f"k2-on did not come to its end: {clean(text.strip()) or 'it failed without a message'}."
    )
    assert any(line.startswith("failed, k=2 on: ") and line.endswith(f"Error: {word}") for line in shown)


@pytest.mark.parametrize("planted", ["**bold**", "<b>x</b>", "a\n\n# b"])
def test_shape_can_fail(planted: str) -> None:
    text = render(nasty_run("harmless"))
    with pytest.raises(AssertionError):
        assert shape(text.replace("did not come", planted)) == shape(text)


@pytest.mark.parametrize(("text", "linked"), [("@octocat", r"@\w"), ("fixes #12", r"#\d"), ("$x$", r"\$x")])
def test_nobody_is_notified_and_nothing_set_as_a_formula(text: str, linked: str) -> None:
    shown = re.sub(r"(`+).*?\1", "", render(nasty_run(text)), flags=re.DOTALL)

    assert "did not come to its end:" in shown
    assert not re.search(linked, shown)


@pytest.mark.parametrize("word", ["num_items_in_batch", "a__b", "modeling_gemma3.py"])
def test_an_underscore_within_a_word_stays_legible(word: str) -> None:
    assert f"Error: {word}" in render(nasty_run(word))


def command_of(record: AnyTrainingRecord) -> str:
    (command,) = (t.content for t in parse(render(record)) if t.type == "fence" and t.info == "sh")
    return command


@pytest.mark.parametrize("model", [text for text in NASTY if "\0" not in text] + ["plain", "it's", "a b", ""])
def test_the_command_measures_the_same(model: str) -> None:
    record = full_run("token_mean", "mean_of_means")
    config = record.config.model_copy(update={"model": model})
    command = command_of(record.model_copy(update={"config": config}))
    assert command.startswith("gacheck run --model ")
    assert all(c.isprintable() for c in command.rstrip("\n"))

    script = "printf '%s\\0' " + command.removeprefix("gacheck ")
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, timeout=20)

    typed = done.stdout.decode("utf-8", "surrogateescape").split("\0")
    assert typed == ["run", "--model", model, "--effective-batch-size", "8", "--max-steps", "2", ""]


def test_bytes_that_are_no_text_come_back() -> None:
    record = attached_run("token_mean").model_copy(update={"command": ("gacheck", "attach", "--", "caf\udce9\x1b'\\")})

    done = subprocess.run(
        ["bash", "-c", "printf %s " + command_of(record).removeprefix("gacheck attach -- ")],
        capture_output=True,
        check=True,
    )

    assert done.stdout == b"caf\xe9\x1b'\\"


def test_a_plain_command_is_quoted_for_every_shell() -> None:
    command = ("gacheck", "attach", "--", "python", "it's", "a=[1, 2]")
    record = attached_run("token_mean").model_copy(update={"command": command})

    assert shlex.split(command_of(record)) == [*command]


def test_what_was_asked_for_in_code_is_repeated_in_code() -> None:
    record = full_run("token_mean", "mean_of_means").model_copy(update={"command": ("gacheck", "-q", "tests")})

    assert [t.content for t in parse(render(record)) if t.type == "fence" and t.info == "python"] == [
        "gacheck.check(model)\n"
    ]
