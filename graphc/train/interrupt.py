"""Ctrl-C between steps: parameters are never left in the middle of an update."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Interruptible:
    """While entered, Ctrl-C waits for the next `point()`, where it is raised; a second one does not wait.

    Outside of the main thread, and where the program has a handler of its own, Ctrl-C stays what it was.
    """

    def __init__(self) -> None:
        self._asked = False
        self._installed = False

    def __enter__(self) -> Interruptible:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._installed = False
        if error is None:
            self.point()

    def point(self) -> None:
        """Raise KeyboardInterrupt here if Ctrl-C was pressed."""
        if self._asked:
            self._asked = False
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
