"""All formats: found by their modules, and each shows every kind of record, the same every time."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

from gacheck import reporters as package
from gacheck.record.kinds import KINDS, AnyRecord
from gacheck.reporters import all_reporters, reporters
from gacheck.reporters.reporter import PAGE, Reporter
from gacheck.words.reading import read_record
from tests.reporters.cases import RECORDS
from tests.reporters.survey_cases import SURVEYS

# What shows a comparison of two records has tests of its own.
OF_RECORDS = [each for each in all_reporters() if each.kinds <= KINDS.keys()]

BEGINNINGS = {
    "png": b"\x89PNG\r\n\x1a\n",
    "svg": b"<?xml",
    "json": b"{",
    "markdown": b"### gacheck: ",
    "html": b"<!doctype html>",
}


def test_every_module_with_reporters_is_found() -> None:
    # Also in packages below, which the registry does not search.
    modules = [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    entries = [each for name in modules for each in getattr(importlib.import_module(name), "REPORTERS", ())]

    assert {id(each) for each in entries} == {id(each) for each in all_reporters()}
    assert {"terminal", "json", "markdown", "csv", "png", "svg", "html"} <= reporters().keys()
    assert {"terminal", "json", "csv", "markdown", "html"} <= reporters("survey").keys()
    assert next(iter(reporters())) == next(iter(reporters("survey"))) == "terminal"
    # One name has one suffix, and one kind of record has one reporter of a name.
    assert len({each.suffix for each in entries}) == len({each.name for each in entries})
    assert len({(each.name, kind) for each in entries for kind in each.kinds}) == sum(len(e.kinds) for e in entries)


def shows(reporter: Reporter, record: AnyRecord) -> bool:
    content = reporter.render(read_record(record), PAGE)
    whole = content.startswith(BEGINNINGS.get(reporter.name, b"")) and (reporter.binary or content.endswith(b"\n"))
    # A picture takes a quarter of a second: one of each is drawn twice, in modules of their own.
    return whole and (reporter.name in ("png", "svg", "html") or reporter.render(read_record(record), PAGE) == content)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("reporter", OF_RECORDS, ids=lambda each: f"{each.name} of {min(each.kinds)}")
def test_every_record_is_shown_the_same_every_time(reporter: Reporter) -> None:
    records: dict[str, AnyRecord] = SURVEYS if "survey" in reporter.kinds else RECORDS
    if reporter.name == "png":
        # What is drawn is drawn by the same hand as for the SVG.
        records = {name: RECORDS[name] for name in ("scaled", "nothing", "hostile", "attached")}

    assert [name for name, record in records.items() if not shows(reporter, record)] == []


def test_none_loads_what_it_need_not() -> None:
    code = (
        "import sys, gacheck.reporters as all\n"
        "assert not {'matplotlib', 'jinja2', 'torch'} & set(all.reporters() and sys.modules), 'by the registry'\n"
        "import gacheck.reporters.picture.drawing\n"
        "import gacheck.reporters.html.page, gacheck.reporters.html.survey_page\n"
        "assert not {'matplotlib.pyplot', 'torch'} & set(sys.modules), 'by picture or page'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
