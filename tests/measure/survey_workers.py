"""What a worker of a survey may meet, one each."""

from __future__ import annotations

import os
import time

from gacheck.record.survey import SurveyItem, SurveyRow


def judge(item: SurveyItem) -> SurveyRow:
    """Do what the item's name says."""
    if item.name == "hangs":
        time.sleep(60)
    if item.name == "dies":
        os._exit(7)
    if item.name == "raises":
        raise RuntimeError("of its own")
    if item.name == "eats":
        bytearray(1 << 32)
    return SurveyRow(item=item, seconds=0.1, reason=f"{item.name} was judged in {os.getpid()}")
