"""Models and datasets from the hub, through the real program: what is fetched, what is kept, and what goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hub.fake_hub import FakeHub, Files, Refusal, Repo, commit_of
from tests.hub.launcher import Done
from tests.hub.repos import adapter, custom_code, dataset, llama, pickled, sharded

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the launcher forks")

# One optimizer step at k = 4, and no picture.
SMOKE = ("smoke", "--effective-batch-size", "4", "--max-length", "32", "--model")
TOKEN = "hf_theTokenOfThisTest"
WEIGHTS = "model.safetensors"


def put(hub: FakeHub, name: str, files: Files, **options: Any) -> Repo:
    hub.repos[name] = Repo({"main": files}, **options)
    return hub.repos[name]


def result_of(done: Done) -> dict[str, Any]:
    assert done.exit_code == 0, done.err
    result: dict[str, Any] = json.loads(done.out)
    # The second is what a Llama gets of releases before 5; this file runs under those too.
    assert result["verdict"]["code"] in ("OK", "UNSHIFTED_TOKEN_COUNT")
    return result


def test_an_id_is_fetched_once(
    hub: FakeHub, gacheck: Any, environment: dict[str, str], tiny: Files, tmp_path: Path
) -> None:
    put(hub, "org/tiny", tiny | {"pytorch_model.bin": b"a pickle", "tf_model.h5": b"", "code.py": b""})

    first = result_of(gacheck(*SMOKE, "org/tiny", "--json"))
    assert first["model"]["name"] == "org/tiny"
    assert first["model"]["class"] == "LlamaForCausalLM"
    assert hub.fetched("org/tiny").count(WEIGHTS) == 1
    assert not {"pytorch_model.bin", "tf_model.h5", "code.py"} & set(hub.fetched("org/tiny"))

    hub.log.clear()
    assert result_of(gacheck(*SMOKE, "org/tiny", "--json"))["passes"] == first["passes"]
    assert hub.fetched("org/tiny") == []

    hub.log.clear()
    # A process of its own: the hub's client reads this when it is imported.
    done = subprocess.run(
        [sys.executable, "-m", "gacheck", *SMOKE, "org/tiny", "--json"],
        cwd=tmp_path,
        env=environment | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, json.loads(done.stdout)["passes"]) == (0, first["passes"]), done.stderr
    assert hub.log == []


def test_a_revision_is_a_branch_or_a_commit(hub: FakeHub, gacheck: Any, tiny: Files) -> None:
    deeper = llama(num_hidden_layers=3)
    hub.repos["org/branches"] = Repo({"main": tiny, "dev": deeper})

    def size(*revision: str) -> int:
        done = gacheck(*SMOKE, "org/branches", *revision, "--json")
        return int(result_of(done)["model"]["num_parameters"])

    shallow = size()
    assert size("--revision", "dev") > shallow
    assert size("--revision", commit_of(tiny)) == shallow
    assert size("--revision", commit_of(deeper)) > shallow


def test_the_token_is_sent(hub: FakeHub, gacheck: Any, tiny: Files) -> None:
    put(hub, "org/private", tiny, token=TOKEN)

    refused = gacheck(*SMOKE, "org/private")
    assert (refused.exit_code, refused.out) == (2, "")
    assert "There is no model org/private on the hub, or no access to it." in refused.err
    hub.log.clear()
    result_of(gacheck(*SMOKE, "org/private", "--json", HF_TOKEN=TOKEN))
    assert {request.token for request in hub.log if "org/private" in request.path} == {TOKEN}


REFUSALS: dict[str, tuple[Refusal | None, int, str]] = {
    "unauthorised": (Refusal(401, "RepoNotFound", "Invalid username or password."), 2, "There is no model"),
    "not found": (Refusal(404, "RepoNotFound", "Repository not found"), 2, "There is no model"),
    "gated": (Refusal(403, "GatedRepo", "Access is restricted", files_only=True), 2, "is gated"),
    "gated, no token": (Refusal(401, "GatedRepo", "Access is restricted", files_only=True), 2, "is gated"),
    "wrong token": (Refusal(401, "", "Invalid credentials in Authorization header"), 2, "HF_TOKEN"),
    "weak token": (Refusal(403, "", "Forbidden: pass a token with the right permissions"), 2, "HF_TOKEN"),
    "weak token, files only": (Refusal(403, "", "Forbidden", files_only=True), 2, "HF_TOKEN"),
    "broken": (Refusal(500, "", "Internal error"), 4, "try again"),
    # Of 500 and its like the client asks again for 23 seconds.
    "broken, files only": (Refusal(501, "", "Not implemented", files_only=True), 4, "try again"),
}


def assert_one_message(done: Done, said: str, name: str) -> None:
    assert done.err.startswith("gacheck: "), done.err
    assert len(done.err.splitlines()) == 3, done.err
    assert said in done.err
    assert name in done.err
    assert done.out == ""


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refused_model(hub: FakeHub, gacheck: Any, tiny: Files, tmp_path: Path, case: str) -> None:
    refusal, exit_code, said = REFUSALS[case]
    put(hub, "org/refused", tiny, refusal=refusal)

    done = gacheck("run", "--model", "org/refused", HF_TOKEN=TOKEN)
    assert_one_message(done, said, "org/refused")
    assert done.exit_code == exit_code
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("revision", ["nope", "0" * 40])
def test_an_unknown_revision(hub: FakeHub, gacheck: Any, tiny: Files, revision: str) -> None:
    put(hub, "org/tiny", tiny)

    done = gacheck(*SMOKE, "org/tiny", "--revision", revision)
    assert_one_message(done, f"has no revision '{revision}'", "org/tiny")
    assert done.exit_code == 2


def test_a_connection_that_breaks_off(hub: FakeHub, gacheck: Any, tiny: Files) -> None:
    half = len(tiny[WEIGHTS]) // 2
    repo = put(hub, "org/cut", tiny, cut_at=half)

    done = gacheck(*SMOKE, "org/cut")
    assert_one_message(done, "broke off", "org/cut")
    assert done.exit_code == 4
    repo.cut_at = None
    whole = result_of(gacheck(*SMOKE, "org/cut", "--json"))
    assert whole["model"]["num_parameters"] * 4 > half


def test_a_hub_that_is_down(hub: FakeHub, gacheck: Any, tmp_path: Path) -> None:
    with hub.down():
        done = gacheck("run", "--model", "org/other")
    assert_one_message(done, "the hub cannot be reached", "org/other")
    assert done.exit_code == 4
    assert list((tmp_path / "here").iterdir()) == []


def test_random_weights_are_not_fetched(hub: FakeHub, gacheck: Any, tiny: Files) -> None:
    put(hub, "org/random", tiny)

    result = result_of(gacheck(*SMOKE, "org/random", "--random-init", "--json"))
    assert result["model"]["random_weights"] is True
    assert "config.json" in hub.fetched("org/random")
    assert WEIGHTS not in hub.fetched("org/random")


def test_pickles_are_refused_and_not_fetched(hub: FakeHub, gacheck: Any, tiny: Files) -> None:
    put(hub, "org/pickled", pickled(tiny))

    done = gacheck(*SMOKE, "org/pickled")
    assert_one_message(done, "no weights in safetensors", "org/pickled")
    assert done.exit_code == 2
    assert "pytorch_model.bin" not in hub.fetched("org/pickled")
    assert gacheck(*SMOKE, "org/pickled", "--random-init").exit_code == 0


def test_shards_are_put_together(hub: FakeHub, gacheck: Any, tiny: Files) -> None:
    put(hub, "org/whole", tiny)
    shards = put(hub, "org/shards", sharded()).branches["main"]
    assert WEIGHTS not in shards

    whole, parts = (result_of(gacheck(*SMOKE, name, "--json")) for name in ("org/whole", "org/shards"))
    assert parts["passes"] == whole["passes"]
    assert parts["model"]["num_parameters"] == whole["model"]["num_parameters"]


def test_remote_code_runs_only_when_pinned(hub: FakeHub, gacheck: Any, tiny: Files) -> None:
    files = custom_code(tiny)
    put(hub, "org/code", files)
    trust = "--trust-remote-code"

    for arguments, said in (
        ((), "needs Python code"),
        ((trust,), "pin the commit"),
        ((trust, "--revision", "main"), "pin the commit"),
        ((trust, "--revision", commit_of(files)[:12]), "pin the commit"),
    ):
        done = gacheck(*SMOKE, "org/code", *arguments)
        assert_one_message(done, said, "org/code")
        assert done.exit_code == 2
        assert "modeling_mine.py" not in hub.fetched("org/code")
    result = result_of(gacheck(*SMOKE, "org/code", trust, "--revision", commit_of(files), "--json"))
    assert (result["model"]["class"], result["model"]["model_type"]) == ("MineForCausalLM", "mine")


def test_an_adapter_draws_its_base(hub: FakeHub, gacheck: Any, tiny: Files) -> None:
    put(hub, "org/base", tiny)
    put(hub, "org/adapter", adapter("org/base"))
    put(hub, "org/orphan", adapter("org/gone"))

    result = result_of(gacheck(*SMOKE, "org/adapter", "--json"))
    assert result["model"]["class"] == "LlamaForCausalLM"
    assert WEIGHTS in hub.fetched("org/base")
    assert "adapter_model.safetensors" in hub.fetched("org/adapter")
    done = gacheck(*SMOKE, "org/orphan")
    assert_one_message(done, "There is no model org/gone on the hub", "org/gone")
    assert done.exit_code == 2


def test_a_dataset_with_configuration_split_and_column(hub: FakeHub, gacheck: Any, tiny: Files) -> None:
    put(hub, "org/tiny", tiny)
    put(hub, "org/text", dataset(), kind="datasets")
    model = (*SMOKE, "org/tiny")

    result = result_of(gacheck(*model, "--dataset", "org/text", "--json"))
    other = ("--dataset", "org/text", "--dataset-config", "other", "--split", "validation", "--text-column", "body")
    chosen = result_of(gacheck(*model, *other, "--json"))
    assert [p["first_step"]["reference_loss"] for p in chosen["passes"]] != [
        p["first_step"]["reference_loss"] for p in result["passes"]
    ]
    assert "other/validation.jsonl" in hub.fetched("org/text")
    for arguments, said in (
        (("--dataset", "org/missing"), "There is no dataset org/missing"),
        (("--dataset", "org/text", "--split", "nope"), "nope"),
        (("--dataset", "org/text", "--dataset-config", "nope"), "nope"),
        (("--dataset", "org/text", "--text-column", "nope"), "no column 'nope'"),
    ):
        done = gacheck(*model, *arguments)
        assert_one_message(done, said, arguments[1])
        assert done.exit_code == 2


@pytest.mark.parametrize(
    ("status", "code", "exit_code"), [(403, "GatedRepo", 2), (401, "RepoNotFound", 2), (501, "", 4)]
)
def test_a_refused_dataset(hub: FakeHub, gacheck: Any, tiny: Files, status: int, code: str, exit_code: int) -> None:
    put(hub, "org/tiny", tiny)
    put(
        hub,
        "org/refused-text",
        dataset(),
        kind="datasets",
        refusal=Refusal(status, code, "no", files_only=code == "GatedRepo"),
    )

    done = gacheck(*SMOKE, "org/tiny", "--dataset", "org/refused-text")
    assert_one_message(done, "org/refused-text", "dataset")
    assert done.exit_code == exit_code
