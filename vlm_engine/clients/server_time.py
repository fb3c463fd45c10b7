"""Time of a server, divided among the requests that it has at each moment. No I/O, no clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vlm_engine.types import ServerTimings


class ServerTime:
    """Time of one server, divided evenly among the questions that it has at each moment.

    ``elsewhere``: how many of these other processes sent.
    """

    def __init__(self) -> None:
        self.elsewhere = 0
        self._in_flight = 0
        self._at = 0.0
        self._each_s = 0.0

    def change(self, now: float, questions: int) -> float:
        """Count ``questions`` more, or fewer, from ``now`` on.

        Returns the share until now of a question that was there all the time.
        """
        if self._in_flight:
            self._each_s += max(0.0, now - self._at) / (self._in_flight + self.elsewhere)
        self._at = now
        self._in_flight += questions
        return self._each_s


@dataclass(eq=False, slots=True)
class Request:
    """A request to an endpoint. ``seconds``: its share of the server's time, once it has ended.

    ``sizes``: pixels of its pictures. ``letters``: length of its text. ``start`` and ``end`` count
    the seconds that the endpoint was busy. ``beside``: requests in flight at its end; ``overtaken``
    of them were sent before it. ``read`` and ``written`` are tokens, those of text converted to
    tokens of a picture. ``times``: those that the server tells, if any.
    """

    sizes: tuple[int, ...]
    letters: int
    start: float
    end: float = math.inf
    seconds: float = 0.0
    beside: int = 1
    overtaken: int = 0
    read: float = 0.0
    written: int = 0
    times: ServerTimings | None = None
