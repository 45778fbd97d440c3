"""Every kind of record."""

from __future__ import annotations

from gacheck.record.attach import AttachRecord
from gacheck.record.parts import Record
from gacheck.record.run import RunRecord

AnyTrainingRecord = RunRecord | AttachRecord
"""What holds passes, and says by `setup` what they were told."""

KINDS: dict[str, type[Record]] = {"run": RunRecord, "attach": AttachRecord}
