"""Trainers that fail in rank 1 alone, at k = 2."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from transformers import Trainer


class _Broken(Trainer):
    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        if os.environ.get("RANK", "1") == "1" and self.args.gradient_accumulation_steps == 2:
            self.break_down()
        return super().training_step(*args, **kwargs)

    def break_down(self) -> None:
        if not os.environ.get("WHOLE"):
            raise NotImplementedError


class Raises(_Broken):
    """Raises."""

    def break_down(self) -> None:
        if not os.environ.get("WHOLE"):
            raise ArithmeticError("of rank 1 alone")


class RaisesAtTheEnd(Trainer):
    """Raises after the last collective call of its step: the other process goes on to the end of it."""

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().training_step(*args, **kwargs)
        if os.environ.get("RANK") == "1" and self.args.gradient_accumulation_steps == 2:
            raise ArithmeticError("after the step")
        return loss


class Dies(_Broken):
    """Is killed, as by the kernel when memory runs out."""

    def break_down(self) -> None:
        if not os.environ.get("WHOLE"):
            os.kill(os.getpid(), signal.SIGKILL)


class Hangs(_Broken):
    """Never comes back, where it can be interrupted."""

    def break_down(self) -> None:
        if not os.environ.get("WHOLE"):
            time.sleep(1000)


class HangsInside(_Broken):
    """Never comes back, and cannot be interrupted: as a call in native code, it heeds no signal."""

    def break_down(self) -> None:
        if not os.environ.get("WHOLE"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM})
            time.sleep(1000)
