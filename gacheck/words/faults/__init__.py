"""The entries of all verdict codes."""

from __future__ import annotations

from gacheck.words.faults import right, scale, unanswered, weighting
from gacheck.words.faults.fault import Fault

FAULTS: dict[str, Fault] = {
    fault.code: fault for module in (right, weighting, scale, unanswered) for fault in module.FAULTS
}
