"""A bisection through real releases: Gemma3 came with 4.50.0, and one release later its loss was k times too large."""

from __future__ import annotations

import json

import pytest

from gacheck.cli import main

pytestmark = pytest.mark.releases


@pytest.mark.xdist_group("bisect")
def test_the_first_bad_release_of_gemma3(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bisect", "tiny:gemma3", "--from", "4.49.0", "--to", "4.50.3", "--json"])

    found = json.loads(capsys.readouterr().out)
    assert caught.value.code == 0
    assert (found["first_bad"], found["first_good"]) == ("4.50.1", None)
    assert [(change["before"], change["after"], change["from"], change["to"]) for change in found["changes"]] == [
        ("4.49.0", "4.50.0", "absent", "UNSHIFTED_TOKEN_COUNT"),
        ("4.50.0", "4.50.1", "UNSHIFTED_TOKEN_COUNT", "SCALED_BY_ACCUMULATION"),
    ]
