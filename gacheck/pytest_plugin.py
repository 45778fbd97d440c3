"""The plugin for pytest: `pytest --gacheck-model tiny:llama`, and the fixture `gacheck_check`.

pytest loads this module at its start, in every project of an environment that has gacheck. So it imports nothing but
pytest, and does nothing until it is asked.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gacheck.errors import FaultError
    from gacheck.words.analysis import Analysis

NAME = "gacheck"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup(NAME, "loss under gradient accumulation")
    group.addoption(
        "--gacheck-model",
        action="append",
        default=[],
        metavar="MODEL",
        help="check this model as a test: tiny:TYPE, a folder or a hub id; repeatable",
    )
    group.addoption("--gacheck-strict", action="store_true", help="a warning of gacheck fails too")


class _Models(pytest.Collector):
    """The models that were named on the command line; no file holds them."""

    def collect(self) -> Iterator[pytest.Item]:
        for model in dict.fromkeys(self.config.getoption("--gacheck-model")):
            yield _Model.from_parent(self, name=model)


class _Model(pytest.Item):
    """One model, measured as `gacheck smoke` does.

    It is measured before the test itself, so that a model that cannot be had is an error and no failure.
    """

    _analysis: Analysis

    def setup(self) -> None:
        from gacheck.api import check

        self._analysis = check(self.name)

    def runtest(self) -> None:
        _judge(self, self._analysis)

    def reportinfo(self) -> tuple[Any, None, str]:
        return self.path, None, self.nodeid


@pytest.hookimpl(tryfirst=True)  # before -k, -m and the like choose
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add the models to what was found in files."""
    if not session.config.getoption("--gacheck-model"):
        return
    collector = _Models.from_parent(session, name=NAME, nodeid=NAME)
    report = collector.ihook.pytest_make_collect_report(collector=collector)
    for item in report.result:
        item.ihook.pytest_itemcollected(item=item)
    # It is what counts them on the screen.
    collector.ihook.pytest_collectreport(report=report)
    items.extend(report.result)


@pytest.fixture
def gacheck_check(request: pytest.FixtureRequest) -> Callable[..., Analysis]:
    """Check a model or a Trainer as `gacheck.check` does, and fail with the whole verdict where it does."""

    def check(model_or_trainer: Any, **options: Any) -> Analysis:
        __tracebackhide__ = True
        from gacheck import api

        analysis = api.check(model_or_trainer, **options)
        _judge(request.node, analysis)
        return analysis

    return check


def _judge(item: pytest.Item, analysis: Analysis) -> None:
    """Raise what a verdict demands; what else is not OK is told at the end.

    Raises:
        FaultError: The verdict fails, cannot be given, or warns under --gacheck-strict.
    """
    __tracebackhide__ = True
    from gacheck.api import raise_fault
    from gacheck.reporters.line import render_line

    raise_fault(analysis, strict=item.config.getoption("--gacheck-strict"))
    if not analysis.ok:
        item.user_properties.append((NAME, render_line(analysis)))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """Let a failure speak of the verdict: whole in its own section, and short in the summary."""
    outcome: Any = yield
    # Nobody who has not imported them can have raised one of ours.
    if call.excinfo is None or "gacheck.errors" not in sys.modules:
        return
    from gacheck.errors import FaultError, GacheckError

    report, error = outcome.get_result(), call.excinfo.value
    if isinstance(item, _Model) and isinstance(error, GacheckError):
        report.longrepr = call.excinfo.getrepr(style="value", chain=False)
        _head(report, error.what)
    fault = error if isinstance(error, FaultError) else _asserted(call.excinfo)
    if fault is None:
        return
    if fault is not error:
        report.sections.append((NAME, str(fault)))
    _head(report, fault.line)
    item.user_properties.append((NAME, fault.line))


def _head(report: Any, line: str) -> None:
    """Put a line into the summary in place of the exception."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        crash.message = line


def _asserted(excinfo: pytest.ExceptionInfo[BaseException]) -> FaultError | None:
    """Return the fault that an assertion is about, as `assert gacheck.check(model).ok` is; None where it is of another.

    pytest cuts what it shows of a value; it keeps the values themselves in the frame, those without a name too.
    """
    if not isinstance(excinfo.value, AssertionError) or "gacheck.words.analysis" not in sys.modules:
        return None
    from gacheck.api import fault_of
    from gacheck.words.analysis import Analysis

    entry = excinfo.traceback[-1]
    words = re.findall(r"\w+", str(entry.statement))
    for name, value in entry.frame.f_locals.items():
        # What has no name is kept under one that no code of the test's could give it.
        if isinstance(value, Analysis) and not value.ok and (name in words or not name.isidentifier()):
            return fault_of(value)
    return None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List the verdicts that are not OK on lines that are not cut, warnings that passed among them."""
    reports = [report for each in terminalreporter.stats.values() for report in each]
    lines = dict.fromkeys(
        f"{report.nodeid}: {text}"
        for report in reports
        for name, text in getattr(report, "user_properties", ())
        if name == NAME
    )
    if lines:
        terminalreporter.section(NAME)
        for line in lines:
            terminalreporter.line(line)
