"""Hostile strings in every field of every kind of record, shown in every format: none gets out of its place."""

from __future__ import annotations

import html.parser
import itertools
import json
import random
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
from pydantic import ValidationError

import gacheck
from gacheck.record.kinds import KINDS
from gacheck.record.parts import Record
from gacheck.reporters import reporters
from gacheck.reporters.reporter import View
from gacheck.words.reading import read_record
from tests.builders import Gradient, attached_run, failed_pass, pass_record, run_record
from tests.surveys import BERT, GEMMA3, LLAMA, judged, survey, unjudged
from tests.torture.outcome import Outcome

STRINGS = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "'\"><svg onload=alert(1)>",
    "</style></title></details><!--",
    "{{7*7}}{% for x in y %}",
    "x\x1b[2J\x1b]0;title\x07\x00\x9b31m\u202eevil\u2028y",
    "a\r\n::error title=forged::no\nOK    all is well",
    '=HYPERLINK("http://evil.example","x")',
    "| a | b || `d` ![x](http://evil.example) @someone **bold**",
    "[bold red]x[/bold red][link=http://evil.example]y[/link]",
    r"$\frac{1$ ${HOME} $(touch pwned) `touch pwned`",
    "%s %(x)s {0} {x.__class__}",
    "\ud800 lone surrogate",
    "日本語" * 200,
    "x" * 20_000,
    "",
    "NaN",
)
QUICK = ("terminal", "html", "json", "markdown", "csv")
DRAWN = ("svg", "png")


def of_fields(most: int, folder: Path) -> Outcome:
    """Put every string into every field, and show it in every format; of what has to be drawn a part."""
    outcome = Outcome()
    tries = [
        (record, place, text, name)
        for record in _records()
        for place in _places(json.loads(record.model_dump_json()))
        for text in STRINGS
        for name in QUICK
        if name in reporters(record.kind)
    ]
    chosen = tries if len(tries) <= most else random.Random(0).sample(tries, most)
    for record, place, text, name in chosen:
        _show(outcome, record, place, text, name)
    drawn = itertools.islice(((r, t) for r in _records()[:2] for t in STRINGS), max(2, most // 400))
    for (record, text), name in itertools.product(drawn, DRAWN):
        _show(outcome, record, ("model", "class_name"), text, name)
    return outcome


@cache
def _records() -> tuple[Record, ...]:
    passes = [
        pass_record(2, "on", "sum_of_means", gradient=Gradient("sum_of_means")),
        failed_pass(2, "off"),
        pass_record(2, "on", "short_step_over_k", num_micro_batches=1, num_steps=1),
    ]
    rows = [judged(BERT, "sum_of_means"), judged(LLAMA, "token_mean"), unjudged(GEMMA3, "It hung.")]
    attached = attached_run("sum_of_means", k=2, unseen=("something", "another thing"))
    run = run_record(passes, config={"config_override": {"a": "b"}, "dataset": "x", "trainer_class": "a:B"})
    return run, attached, survey(rows)


def _places(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where strings are; in a list those of its first part alone, and the keys of what has no fields."""
    if isinstance(content, str):
        yield place
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _places(value, (*place, key))
    elif isinstance(content, list):
        for index, value in enumerate(content[:1] if content and not isinstance(content[0], str) else content[:2]):
            yield from _places(value, (*place, index))


def _show(outcome: Outcome, record: Record, place: tuple[Any, ...], text: str, name: str) -> None:
    content = json.loads(record.model_dump_json())
    target = content
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = text
    with outcome.one(f"{record.kind} {'.'.join(map(str, place))} = {text[:40]!r} as {name}") as problems:
        try:
            changed = KINDS[record.kind].model_validate(content)
        except (ValidationError, UnicodeEncodeError):
            return  # refused in words when it is read
        try:
            analysis = read_record(changed)  # type: ignore[arg-type]
            shown = reporters(record.kind)[name].render(analysis, View())
        except (ArithmeticError, LookupError, ValueError):
            return  # the program makes words of these
        problems += CHECKS[name](shown, record.kind)


class _Tags(html.parser.HTMLParser):
    """Collects what a page would run or load."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        loads = tag == "link" and not (dict(attrs).get("href") or "").startswith("data:")
        if loads or tag in ("script", "iframe", "object", "embed", "base", "form"):
            self.bad.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on") or (name in ("src", "href") and re.match(r"\s*(?:javascript|http)", value or "")):
                self.bad.append(f"<{tag} {name}={value}>"[:200])


def _page(shown: bytes, kind: str) -> list[str]:
    tags = _Tags()
    tags.feed(shown.decode())
    own = "https://github.com"
    return [each for each in tags.bad if own not in each] + (["a template was filled in"] if b"49{%" in shown else [])


def _lines(shown: bytes, kind: str) -> list[str]:
    text = shown.decode()
    odd = next((line for line in text.split("\n") if not line.rstrip("\r").isprintable()), None)
    forged = re.search(r"^\s*(?:::error|OK    all is well)", text, re.MULTILINE)
    return [*([f"not printable: {odd[:80]!r}"] if odd else []), *(["a forged line"] if forged else [])]


def _table(shown: bytes, kind: str) -> list[str]:
    formula = re.search(r"(?:^|,)\"?[=+@]", shown.decode(), re.MULTILINE)
    return _lines(shown, kind) + (["a formula"] if formula else [])


def _document(shown: bytes, kind: str) -> list[str]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    content = json.loads(shown, parse_constant=refuse)
    return [] if kind == "survey" else [error.message[:200] for error in _validator().iter_errors(content)][:1]


@cache
def _validator() -> Any:
    path = Path(gacheck.__file__).parent / "schemas" / "analysis.json"
    return jsonschema.Draft202012Validator(json.loads(path.read_text(encoding="utf-8")))


def _picture(shown: bytes, kind: str) -> list[str]:
    if shown.startswith(b"\x89PNG"):
        return []
    parts = list(ElementTree.fromstring(shown).iter())
    bad = [each.tag for each in parts if each.tag.endswith(("script", "image", "}a", "foreignObject"))]
    return bad + [name for each in parts for name in each.attrib if name.startswith("on")]


CHECKS = {
    "terminal": _lines,
    "markdown": _lines,
    "csv": _table,
    "html": _page,
    "json": _document,
    "svg": _picture,
    "png": _picture,
}
