"""Turns what the processes of a training leave into records, while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gacheck.attached.record import read_training, record_of
from gacheck.errors import GacheckError, NothingSeenError
from gacheck.record.attach import AttachRecord
from gacheck.record.journal import save_record
from gacheck.watch.startup.sitecustomize import ALIKE


@dataclass(frozen=True)
class SavedTraining:
    """What one training told; the folder is None where it could not be saved."""

    told_at: int
    record: AttachRecord
    folder: Path | None


class Keeper:
    """Saves the records of the trainings of one command.

    Args:
        facts: Where its processes leave what they see.
        command: What repeats it.
        new_folder: Makes the folder of the next record: (name of the model, how many there are) → folder.

    Attributes:
        error: Why a record could not be saved; the training has gone on.
    """

    def __init__(self, facts: Path, command: tuple[str, ...], new_folder: Callable[[str, int], Path]) -> None:
        self._facts = facts
        self._command = command
        self._new_folder = new_folder
        self._saved: dict[Path, SavedTraining] = {}
        self.error: GacheckError | None = None

    @property
    def all(self) -> list[SavedTraining]:
        """What was saved, in the order in which the trainings began."""
        return list(self._saved.values())

    @property
    def num_alike(self) -> int:
        """How many trainings were not watched, since one was that is like them in all that bears on the loss."""
        path = self._facts / ALIKE
        return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0

    @property
    def speaks_elsewhere(self) -> bool:
        """Whether processes were watched here, and that of rank 0, which tells for all, was not among them."""
        return not self._saved and (self._facts / "rank").exists()

    def keep(self) -> None:
        """Save the records of what is new since the last time."""
        for path in sorted(self._facts.glob("training-*.json"), key=lambda found: found.stat().st_mtime_ns):
            told_at, before = path.stat().st_mtime_ns, self._saved.get(path)
            if before is not None and before.told_at == told_at:
                continue
            try:
                training = read_training(path.read_text(encoding="utf-8"))
                record = record_of(training, self._command)
            except GacheckError as error:
                self.error = error
                continue
            folder = self._save(record, before.folder if before else None)
            self._saved[path] = SavedTraining(told_at, record, folder)

    def _save(self, record: AttachRecord, folder: Path | None) -> Path | None:
        try:
            folder = folder or self._new_folder(record.model.name, len(self._saved) + 1)
            save_record(record, folder)
        except GacheckError as error:
            self.error = error
            return None
        return folder

    def nothing_seen(self) -> NothingSeenError:
        """Say how far the watch came."""
        trouble = self._facts / "trouble"
        if trouble.exists():
            what = f"The watch failed in the training's process: {trouble.read_text(encoding='utf-8').strip()[:300]}."
            return NothingSeenError(
                what,
                why="The training itself went on as it would have.",
                fix="report it with the output of gacheck env",
            )
        if not (self._facts / "python").exists():
            return NothingSeenError(
                "No Python process of the command let gacheck in.",
                why="The watch comes by PYTHONPATH: python -I, -E and -S ignore it, and some launchers clear it.",
                fix="leave those options out, or call gacheck.attach(trainer) before trainer.train()",
            )
        if not (self._facts / "transformers").exists():
            return NothingSeenError(
                "No process of the command imported transformers.Trainer.",
                why="Only that Trainer and its subclasses are watched.",
                fix="check that the command trains, and with transformers' Trainer",
            )
        return NothingSeenError(
            "No Trainer came to the end of an optimizer step.",
            why="It was imported, and either not trained or ended too early.",
            fix="see what the command printed above",
        )
