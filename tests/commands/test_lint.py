"""`gacheck lint`: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gacheck.cli import main

OWN = Path(__file__).parents[1] / "lint" / "own_models.py"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["lint", *arguments])
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_a_class_is_read_with_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "LlamaForCausalLM")

    assert (code, err) == (0, "")
    assert "LlamaForCausalLM  modeling_llama.py:" in out
    assert "→ loss_utils.py:" in out


def test_what_is_affected_exits_0_too(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, f"{OWN}:Drops")

    assert code == 0
    assert "affected  1 class" in out
    assert "own_models.py:" in out


def test_json_has_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--json", f"{OWN}:Uses", f"{OWN}:DividesMean")

    document = json.loads(out)
    uses = next(each for each in document["rows"] if each["class"] == "Uses")
    open_one = next(each for each in document["rows"] if each["class"] == "DividesMean")
    assert (code, err, document["kind"]) == (0, "", "lint")
    assert (uses["answer"], uses["effect"], uses["flag"], uses["why"]) == ("reaches", "fine", True, None)
    assert [Path(each["file"]).name for each in uses["trail"]] == ["own_models.py", "own_losses.py"]
    assert open_one["why"] == "a mean is divided by the count"


@pytest.mark.parametrize("name", ["NoSuchModel", "no_such_file.py", "no_such.py:Model"])
def test_a_name_of_nothing_is_a_usage_error(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, err = run(capsys, name)

    assert (code, out) == (2, "")
    assert err.count("\n") == 3


def test_most_are_counted_and_all_are_listed_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    _, few, _ = run(capsys, str(OWN))
    _, every, _ = run(capsys, str(OWN), "-v")

    assert "… and " in few
    assert "… and " not in every
    assert len(every.splitlines()) > len(few.splitlines())
