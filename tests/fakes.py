"""A session without a model: what its passes come to is known beforehand. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from gacheck.config import ExperimentConfig
from gacheck.measure.experiment import Experiment
from gacheck.record.parts import OracleRecord, PassRecord
from gacheck.record.plan import PassSpec
from gacheck.record.run import Fingerprints, RunRecord
from gacheck.rules.facts import Flag
from tests.builders import failed_pass, oracle, pass_record, run_record


class FakeSession:
    """Stands where `Session` is called. What a test sets on the class holds for every session.

    Attributes:
        auto: The flag that the Trainer chooses.
        rules: For either flag, the rule that its passes follow, or how they fail: `refused`, `memory`.
        ran: The passes that ran, by id.
        configs: Of the sessions that were opened.
        prints: The fingerprints of weights and code.
    """

    auto: ClassVar[Flag] = Flag.ON
    rules: ClassVar[Mapping[str, str]] = {"on": "token_mean", "off": "mean_of_means"}
    ran: ClassVar[list[str]] = []
    configs: ClassVar[list[ExperimentConfig]] = []
    prints: ClassVar[Fingerprints] = Fingerprints(weights="0" * 64, config="1" * 64, code={"mine": "2" * 64})

    def __init__(self, config: ExperimentConfig, **how: object) -> None:
        facts = run_record([])
        self.model, self.data, self.hardware, self.learning_rate = facts.model, facts.data, facts.hardware, 1e-3
        self._num_steps = config.max_steps
        self.configs.append(config)

    def fingerprints(self) -> Fingerprints:
        return self.prints

    def ask_oracle(self) -> OracleRecord:
        return oracle()

    def auto_loss_kwargs(self) -> Flag:
        return self.auto

    def run_pass(self, spec: PassSpec, oracle: OracleRecord, step_done: Callable[[], None]) -> PassRecord:
        self.ran.append(spec.id)
        k, flag, rule = spec.accumulation_steps, spec.loss_kwargs, self.rules[spec.loss_kwargs]
        if rule in ("refused", "memory"):
            return failed_pass(k, flag, rejects=rule == "refused", auto=self.auto.is_on)
        return pass_record(k, flag, rule, auto=self.auto.is_on, num_steps=self._num_steps)

    def agree(self, record: RunRecord) -> RunRecord:
        return record


_OPENS_AN_EXPERIMENT: Callable[[ExperimentConfig], Experiment] = FakeSession
