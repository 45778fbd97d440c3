"""Records that an earlier gacheck wrote, as it wrote them: a run and an attached training of schema version 1."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gacheck.errors import ConfigError, RecordError
from gacheck.record.attach import AttachRecord
from gacheck.record.journal import load_record, load_run, save_record
from gacheck.record.run import RunRecord
from gacheck.rules.facts import Flag
from gacheck.words.analysis import analyse

EARLIER = Path(__file__).parent / "version_1"


def test_a_run_reads_as_it_did() -> None:
    record = load_record(EARLIER / "run.json")

    assert isinstance(record, RunRecord)
    assert record.complete
    assert {p.auto_loss_kwargs for p in record.all_passes} == {Flag.ON}
    assert (analyse(record).verdict.code, len(record.tail_passes)) == ("OK", 2)


def test_an_attached_training_keeps_what_it_was_told_and_loses_what_nobody_said() -> None:
    record = load_record(EARLIER / "attach.json")

    assert isinstance(record, AttachRecord)
    assert record.setup.trainer_class == "__main__:MyTrainer"
    assert (record.setup.gradient_accumulation_steps, record.setup.loss_kwargs) == (4, Flag.ON)
    assert (record.oracle.noise.regrouping, record.oracle.noise.repeat) == (None, None)
    assert analyse(record).verdict.code == "SCALED_BY_ACCUMULATION"


@pytest.mark.parametrize("name", ["run", "attach"])
def test_saved_again_it_is_of_the_present_version(name: str, tmp_path: Path) -> None:
    record = load_record(EARLIER / f"{name}.json")

    assert load_record(save_record(record, tmp_path)).model_dump() == record.model_dump()


@pytest.mark.parametrize("without", ["attached", "config", "oracle"])
def test_one_that_lacks_a_part_is_refused(without: str, tmp_path: Path) -> None:
    content: dict[str, Any] = json.loads((EARLIER / "attach.json").read_text(encoding="utf-8"))
    del content[without]
    (tmp_path / "record.json").write_text(json.dumps(content), encoding="utf-8")

    with pytest.raises(RecordError, match="damaged"):
        load_record(tmp_path)


def test_an_attached_training_is_not_resumed(tmp_path: Path) -> None:
    shutil.copy(EARLIER / "attach.json", tmp_path / "record.json")

    with pytest.raises(ConfigError, match="not of a run"):
        load_run(tmp_path)
