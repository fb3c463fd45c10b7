"""How much memory decoding may take, over all threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """``total`` bytes, lent to whoever decodes; first come, first served, so that a large picture gets its turn, too."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._lent = 0
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def lent(self, amount: int) -> Iterator[None]:
        """Waits until ``amount`` bytes are left, and takes them until the end of the block. More than all counts as all."""
        amount, turn = min(amount, self.total), object()
        with self._changed:
            self._waiting.append(turn)
            self._changed.wait_for(
                lambda: self._waiting[0] is turn and self._lent + amount <= self.total
            )
            self._waiting.popleft()
            self._lent += amount
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._lent -= amount
                self._changed.notify_all()
