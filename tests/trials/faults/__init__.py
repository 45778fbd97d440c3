"""What can go wrong: every fault that may be planted, by name."""

from tests.trials.faults import count, gradient, late, log, objective, scale
from tests.trials.faults.fault import Fault

FAULTS: dict[str, Fault] = {
    fault.name: fault for module in (scale, count, objective, gradient, log, late) for fault in module.FAULTS
}

__all__ = ["FAULTS", "Fault"]
