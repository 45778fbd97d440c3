"""Small things that the training tests share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from gacheck.config import ExperimentConfig, PassSpec
from gacheck.record import OracleRecord, PassRecord
from gacheck.training.session import Session

SMALL: Mapping[str, object] = {"gradient_accumulation_steps": (1, 4), "effective_batch_size": 8, "max_steps": 2}


def small_config(model: str = "tiny:llama", **options: object) -> ExperimentConfig:
    return ExperimentConfig.model_validate({**SMALL, "model": model, "device": "cpu", **options})


@cache
def opened(model: str = "tiny:llama") -> tuple[Session, OracleRecord]:
    session = Session(small_config(model))
    return session, session.measure_oracle()


def run_pass(session: Session, k: int, flag: str) -> PassRecord:
    spec = PassSpec(k, "on" if flag == "on" else "off")
    return session.run_pass(spec, session.measure_oracle().shifts, lambda: None)
