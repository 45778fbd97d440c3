"""The page without a browser: its structure, its policy, its size, and whatever hostile names try."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import jinja2
import pytest

from gacheck.record.kinds import AnyTrainingRecord
from gacheck.reporters.html import render_html, templating
from gacheck.reporters.html.verdict import FixLine, fix_lines
from gacheck.words.analysis import analyse
from tests.builders import full_run, pass_record, run_record
from tests.page.pages import HOSTILE, PAGES, SCRIPT
from tests.reporters.cases import RECORDS

VOID = {"meta", "link", "img", "source", "col", "br"}


class Source(HTMLParser):
    """The source of a page, read strictly: every element that begins ends, in its order."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.open: list[str] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.open), data))

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, inside: str = "body") -> str:
        return " ".join("".join(data for path, data in self.texts if inside in path).split())


class Page(Source):
    """The page of a training."""

    def __init__(self, record: AnyTrainingRecord) -> None:
        super().__init__(render_html(analyse(record)).decode())

    def rows(self, table: str) -> list[list[str]]:
        """Return the cells of the body of the table with this caption."""
        found = re.search(rf'<caption id="{table}">.*?</table>', self.source, re.DOTALL)
        assert found is not None, table
        body = re.search(r"<tbody>(.*?)</tbody>", found[0], re.DOTALL)
        assert body is not None
        rows = re.findall(r"<tr>(.*?)</tr>", body[1], re.DOTALL)
        return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]


@pytest.mark.parametrize("record", [*RECORDS.values(), *PAGES.values()], ids=[*RECORDS, *(f"page {n}" for n in PAGES)])
def test_every_page_is_whole_small_and_needs_nothing_else(record: AnyTrainingRecord) -> None:
    shown = Page(record)
    (policy,) = [meta["content"] for meta in shown.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    (style,) = [data for path, data in shown.texts if path[-1:] == ("style",)]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    tags = {tag for tag, _ in shown.elements}
    addresses = [
        each[name] for _, each in shown.elements for name in ("src", "srcset", "href", "action") if name in each
    ]

    assert len(shown.source.encode()) < 300_000
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-" + digest + "'")
    assert tags.isdisjoint({"script", "iframe", "object", "embed", "form", "a", "base"})
    assert [name for _, each in shown.elements for name in each if name.startswith("on") or name == "style"] == []
    assert [address for address in addresses if not address.startswith("data:")] == []
    assert "url(" not in style
    assert "@import" not in style


def test_a_reader_who_sees_nothing_finds_the_way() -> None:
    shown = Page(RECORDS["scaled"])
    levels = [int(tag[1]) for tag, _ in shown.elements if re.fullmatch("h[1-6]", tag)]
    ids = [each["id"] for _, each in shown.elements if "id" in each]

    assert shown.of("html") == [{"lang": "en"}]
    assert {"header", "main"} <= {tag for tag, _ in shown.elements}
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert len(shown.of("caption")) == len(shown.of("table")) == 4
    assert all("scope" in each for each in shown.of("th"))
    assert all(each["tabindex"] == "0" and each["aria-labelledby"] in ids for each in shown.of("div") if "role" in each)
    assert [len(each["alt"]) > 80 for each in shown.of("img")] == [True] * 3
    assert "Flag on: 5.150 at k=1, 10.358 at k=2, 21.333 at k=4, 42.038 at k=8." in shown.of("img")[0]["alt"]


def test_the_verdict_comes_first_in_plain_words() -> None:
    text = Page(RECORDS["scaled"]).text("main")

    assert text.startswith(
        "✕ FAIL SCALED_BY_ACCUMULATION This training is wrong: the loss is k times too large. What to do: add the line "
        "trainer.model_accepts_loss_kwargs = False before trainer.train()."
    )
    assert "Tried below (flag off): 5.255 at k=8." in text
    for name, beginning in (
        ("right", "✓ OK This training is right: "),
        ("unshifted", "! WARN UNSHIFTED_TOKEN_COUNT This training is not quite right: "),
        ("all failed", "? INCONCLUSIVE It is not known whether this training is right: "),
    ):
        assert Page(RECORDS[name]).text("main").startswith(beginning)


def test_code_of_the_fix_can_be_copied() -> None:
    words = analyse(RECORDS["router"]).verdict.words
    lines = fix_lines(words)

    assert lines[1] == FixLine("Or", "trainer.model_accepts_loss_kwargs = False", "before trainer.train()")
    assert lines[0].text.startswith("Divide what the model adds")
    assert "<pre><code>trainer.model_accepts_loss_kwargs = False</code></pre>" in Page(RECORDS["router"]).source


def test_how_sure_it_is_and_what_was_compared() -> None:
    text = Page(RECORDS["scaled"]).text()

    assert "How sure this is What was compared: loss and gradient of every micro-batch" in text
    assert "Fits exactly; next best is 99 % off." in text
    assert "What was compared" not in Page(RECORDS["nothing"]).text()


@pytest.mark.parametrize("name", RECORDS)
def test_every_pass_of_the_plan_is_in_it(name: str) -> None:
    analysis, shown = analyse(RECORDS[name]), Page(RECORDS[name])
    text = shown.text()

    for p in analysis.passes:
        if p.status == "failed":
            assert re.search(rf"failed, k=[\d, ]*\b{p.accumulation_steps}\b", text)
        elif p.status == "skipped":
            assert re.search(rf"not run: [^.]*\b{p.accumulation_steps}\b", text)
        elif analysis.attached is None:
            (row,) = [row for row in shown.rows("first-step") if row[0] == str(p.accumulation_steps)]
            assert f"{p.reported_loss:.3f}" in row
    assert all(tail.id.startswith("k") and "end of an epoch at k=" in text for tail in analysis.tails)


def test_rows_of_the_first_step() -> None:
    assert Page(RECORDS["scaled"]).rows("first-step")[3] == [
        *("8", "5.150"),
        *("42.038", "8.163", "12.500", "sum of means"),
        *("5.255", "1.020", "1.562", "mean of means"),
    ]
    assert Page(RECORDS["refused"]).rows("first-step")[0][2:6] == ["failed", "", "", ""]


def test_rows_of_an_attached_training() -> None:
    assert Page(RECORDS["attached"]).rows("steps") == [
        ["on", step, "21.333", "5.150", "4.142", "sum of means", "sum of means"] for step in ("1", "2")
    ]


def test_rows_of_the_arithmetic() -> None:
    shown = Page(RECORDS["scaled"])

    assert shown.rows("arithmetic") == [
        ["1", "60", "5.033", "0.6", "3.020", "1", "5.033", "5.033", "1"],
        ["2", "40", "5.325", "0.4", "2.130", "1", "5.325", "5.325", "1"],
    ]
    assert "of the 100 target tokens" in shown.text()
    # Where the rule is the right one, its columns would say the same twice.
    assert len(Page(RECORDS["right"]).rows("arithmetic")[0]) == 7


def test_many_micro_batches_are_counted_not_listed() -> None:
    record = run_record(
        [pass_record(20, "on", "sum_of_means", rows=((40.0, 8), (30.0, 5)) * 10)], config={"effective_batch_size": 20}
    )
    rows = Page(record).rows("arithmetic")

    assert len(rows) == 17
    assert rows[-1] == ["…", "4 more, which are in the sums"]


def test_hostile_names_are_text() -> None:
    shown = Page(PAGES["hostile"])
    command = next(
        data for path, data in shown.texts if path[-2:] == ("pre", "code") and data.startswith("gacheck run")
    )

    assert SCRIPT in shown.text()
    assert SCRIPT not in shown.source
    assert SCRIPT in command.replace("\\'", "'")
    assert "=cmd()|'/C calc'!A0 \\u202e\\x1b[2J {{ 7*7 }} &lt;b&gt;" in shown.text()
    assert all(char.isprintable() or char == "\n" for char in shown.source)
    assert len(HOSTILE) < 200  # shown whole


def test_it_is_the_same_twice() -> None:
    first, again = (render_html(analyse(full_run("sum_of_means", "mean_of_means"))) for _ in range(2))
    assert first == again


def test_an_unknown_name_in_a_template_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(environment: jinja2.Environment, name: str) -> str:
        return "{{ verdict.no_such_name }}"

    environment = templating.environment().overlay(loader=jinja2.FunctionLoader(lambda name: broken(environment, name)))
    monkeypatch.setattr(templating, "environment", lambda: environment)
    with pytest.raises(jinja2.UndefinedError, match="no_such_name"):
        render_html(analyse(RECORDS["nothing"]))


def test_pictures_are_small_and_whole() -> None:
    shown = Page(RECORDS["scaled"])
    for address in (each.get("src") or each["srcset"] for tag in ("img", "source") for each in shown.of(tag)):
        svg = base64.b64decode(address.split(",")[1])
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert len(svg) < 30_000
    (first, *_) = (base64.b64decode(each["src"].split(",")[1]) for each in shown.of("img"))
    texts = {"".join(each.itertext()) for each in ElementTree.fromstring(first).iter() if each.tag.endswith("text")}
    # Coordinates are rounded, losses are not.
    assert {"10.358", "42.038", "flag off", "k = gradient_accumulation_steps"} <= texts
    assert not re.search(rb'="[^"]*\d\.\d{3}', first)


def test_its_templates_are_part_of_the_package() -> None:
    # From a folder in which no checkout is found by accident.
    code = "from gacheck.reporters.html.templating import environment as e; print(sorted(e().list_templates()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['base.html', 'page.html', 'parts.html', 'style.css', 'survey.css', 'survey.html']"
