"""What bears on the numbers besides the command: versions, machine and options."""

from __future__ import annotations

from gacheck.record.kinds import AnyTrainingRecord
from gacheck.record.run import RunRecord
from gacheck.words.analysis import Analysis


def main_facts(analysis: Analysis) -> list[str]:
    """Return what a reader asks first: the versions, and where it ran."""
    environment, hardware = analysis.record.environment, analysis.record.hardware
    packages = environment.packages
    facts = [f"{name} {packages[name]}" for name in ("transformers", "torch", "accelerate") if name in packages]
    facts.append(f"gacheck {environment.gacheck}")
    return [*facts, hardware.device, hardware.dtype, *([f"{hardware.autocast} autocast"] if hardware.autocast else [])]


def environment_facts(analysis: Analysis) -> dict[str, str]:
    """Return what took part, by name; what is not known is left out."""
    record, flag = analysis.record, analysis.flag
    environment, hardware = record.environment, record.hardware
    facts = {
        "gacheck": environment.gacheck,
        "python": environment.python,
        "platform": environment.platform,
        **environment.packages,
        "device": f"{hardware.device} ({hardware.device_name}), world size {hardware.world_size}",
        "flag": f"chosen {flag.auto}, declared {flag.declared}, forward takes **kwargs {flag.inferred}",
        "loss": " → ".join(f"{f.file.rsplit('/', 1)[-1]}:{f.line} {f.function}" for f in record.oracle.loss_location),
        "data": f"{record.data.num_rows} rows of {record.data.source}" if isinstance(record, RunRecord) else "",
        "tolerance": f"{analysis.tolerance.loss:.1e}",
        "measured": record.created_at,
        "options": _options(record),
    }
    return {name: value for name, value in facts.items() if value}


def _options(record: AnyTrainingRecord) -> str:
    """Write what was set: the options that are not the defaults, which a YAML file may hold, or the Trainer's own."""
    setup = record.setup
    given = {name: getattr(setup, name) for name in type(setup).model_fields if name != "model"}
    other = {name: value for name, value in given.items() if value != type(setup).model_fields[name].default}
    return " ".join(f"{name}={_option(value)}" for name, value in other.items())


def _option(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
