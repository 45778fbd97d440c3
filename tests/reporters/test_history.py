"""The history of a model on the terminal and as JSON."""

from __future__ import annotations

import json

from gacheck.core.history import Tried, history_of
from gacheck.reporters.history import render_history, render_history_json
from gacheck.reporters.reporter import View

RELEASES = ["4.46.1", "4.49.0", "4.50.0", "4.52.0", "4.53.3", "5.22.0", "5.23.0"]
FOUND = [
    Tried("4.46.1", "absent", reason="The model type 'gemma3' is unknown."),
    Tried("4.49.0", "absent", reason="The model type 'gemma3' is unknown."),
    Tried("4.50.0", "fail", "SCALED_BY_ACCUMULATION"),
    Tried("4.53.3", "fail", "SCALED_BY_ACCUMULATION"),
    Tried("5.22.0", "unknown", reason="No space\x1b[2J left."),
    Tried("5.23.0", "ok", "OK"),
]
HISTORY = history_of(RELEASES, {each.release: each for each in FOUND})

PAGE = """\
gacheck 0.1.0 · tiny:gemma3 · 6 of 7 releases tried in 7 min 12 s

releases            tried  verdict
4.46.1 – 4.49.0    2 of 2  – (it cannot make the model)
4.50.0 – 4.53.3    2 of 3  FAIL SCALED_BY_ACCUMULATION
5.23.0             1 of 1  OK

tiny:gemma3: broken from the first release that has it, 4.50.0; fixed in 5.23.0
  changed  4.50.0: the first release that has the model: SCALED_BY_ACCUMULATION
           5.23.0: fixed; 4.53.3 is the last with SCALED_BY_ACCUMULATION. Or
           before it: 5.22.0 could not be tried
  history  It is not monotone: the verdict changes twice.
  failed   5.22.0 could not be tried: No space\\x1b[2J left.
  untried  1 of 7 releases: each lies between two with the same verdict. A fault
           that came and went between them was not seen.
"""


def test_the_page() -> None:
    assert render_history(HISTORY, "tiny:gemma3", 432.4, View(80)) == PAGE


def test_colours_and_ascii() -> None:
    shown = render_history(HISTORY, "tiny:gemma3", 5, View(80, color=True, ascii=True))

    assert "\x1b[1;31mFAIL\x1b[0m SCALED_BY_ACCUMULATION" in shown
    assert shown.isascii()


def test_no_line_is_wider_than_the_terminal() -> None:
    shown = render_history(HISTORY, f"./{'folder' * 30}", 5, View(60))

    assert all(len(line) <= 60 for line in shown.splitlines())


def test_json_says_all() -> None:
    document = json.loads(render_history_json(HISTORY, "tiny:gemma3", 432.44))

    assert (document["kind"], document["model"], document["seconds"]) == ("bisect", "tiny:gemma3", 432.4)
    assert (document["first_bad"], document["first_good"]) == ("4.50.0", "5.23.0")
    assert document["bad"] == [{"first": "4.50.0", "last": "4.53.3"}]
    assert (document["monotone"], document["certain"]) == (False, False)
    assert document["untried"] == ["4.52.0"]
    assert document["changes"][1] == {
        "before": "4.53.3",
        "after": "5.23.0",
        "from": "SCALED_BY_ACCUMULATION",
        "to": "OK",
        "between": ["5.22.0"],
    }
    assert document["tried"][0] == {
        "transformers": "4.46.1",
        "class": None,
        "verdict": None,
        "severity": None,
        "state": "absent",
        "reason": "The model type 'gemma3' is unknown.",
    }
    assert [each["state"] for each in document["tried"]] == [each.state for each in FOUND]
