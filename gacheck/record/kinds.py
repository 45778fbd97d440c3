"""Every kind of record."""

from __future__ import annotations

from gacheck.record.attach import AttachRecord
from gacheck.record.parts import Record
from gacheck.record.run import RunRecord
from gacheck.record.survey import SurveyRecord

AnyTrainingRecord = RunRecord | AttachRecord
"""What holds passes, and says by `setup` what they were told."""

AnyRecord = AnyTrainingRecord | SurveyRecord

KINDS: dict[str, type[Record]] = {"run": RunRecord, "attach": AttachRecord, "survey": SurveyRecord}
