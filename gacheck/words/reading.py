"""A record of any kind, read."""

from __future__ import annotations

from gacheck.record.kinds import AnyRecord
from gacheck.record.survey import SurveyRecord
from gacheck.words.analysis import Analysis, analyse
from gacheck.words.survey import SurveyAnalysis, read_survey

AnyAnalysis = Analysis | SurveyAnalysis


def read_record(record: AnyRecord) -> AnyAnalysis:
    """Judge a record with the rule table."""
    return read_survey(record) if isinstance(record, SurveyRecord) else analyse(record)
