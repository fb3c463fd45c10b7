"""How many questions an endpoint gets at once: as many as it offers, or as many as are found to pay.

No I/O and no clock: answers and refusals come in with their times, ``limit`` is read out.
"""

from __future__ import annotations

from typing import Protocol

GIVEN_BACK_AFTER = 20
_WORTH_IT = 1.05
_AS_GOOD = 0.98
_LEAST_ANSWERS = 8
_REST = 8
_MOST = 256


class Slots(Protocol):
    """The number of slots of one endpoint."""

    @property
    def limit(self) -> int:
        """How many questions it should get at once; at least 1."""

    def offer(self, slots: int) -> None:
        """What the settings, or the server itself, say that it takes at once."""

    def answered(self, now: float, *, full: bool) -> None:
        """An answer came. ``full``: all slots were in use until then."""

    def too_many(self) -> None:
        """It was busy: it wants fewer questions at once."""


class FixedSlots:
    """As many as the endpoint offers; after it was busy half of them, and one more for every 20 answers from then on."""

    def __init__(self) -> None:
        self._offered = 1
        self._cut: int | None = None
        self._successes = 0

    @property
    def limit(self) -> int:
        """See ``Slots``."""
        return self._offered if self._cut is None else min(self._cut, self._offered)

    def offer(self, slots: int) -> None:
        """See ``Slots``."""
        self._offered = max(1, slots)

    def answered(self, now: float, *, full: bool) -> None:
        """See ``Slots``."""
        if self._cut is None:
            return
        self._successes += 1
        if self._successes >= GIVEN_BACK_AFTER:
            self._cut, self._successes = self._cut + 1, 0
            if self._cut >= self._offered:
                self._cut = None

    def too_many(self) -> None:
        """See ``Slots``."""
        self._cut, self._successes = max(1, self.limit // 2), 0


class AutoSlots:
    """Climbs to the number of slots at which the endpoint answers most per second.

    It measures the answers per second while all slots are in use, tries half as many slots more and keeps them when that
    brings 5 % more answers, then tries a third fewer and keeps to them when that costs less than 2 %, and so on, with
    rests. It never looks at how long an answer takes: a server that works on many pictures at once takes longer for each
    and still answers more of them.
    """

    def __init__(self) -> None:
        self.limit = 1
        self._base, self._base_rate = 1, 0.0
        self._upwards = True
        self._rest = 0
        self._since: float | None = None
        self._count = 0

    def offer(self, slots: int) -> None:
        """What the server tells is where the climb begins; what it tells once that is under way changes nothing."""
        if slots != self._base and self._base_rate == 0.0:
            self._move_to(max(1, slots))

    def answered(self, now: float, *, full: bool) -> None:
        """See ``Slots``."""
        if not full:
            self._begin(now)
            return
        self._count += 1
        if self._since is None or self._count <= 0:
            self._since = (
                now  # until here, answers were on their way that an earlier limit had let in
            )
        elif self._count >= max(_LEAST_ANSWERS, 2 * self.limit) and now > self._since:
            self._judge(self._count / (now - self._since))
            self._begin(None)

    def too_many(self) -> None:
        """See ``Slots``."""
        self._move_to(max(1, self.limit // 2))
        self._rest = _REST

    def _begin(self, now: float | None) -> None:
        """Measures anew: from ``now`` on, or once what is under way has been answered."""
        self._since = now
        self._count = -self.limit if now is None else 0

    def _judge(self, rate: float) -> None:
        """What to do after ``limit`` slots gave ``rate`` answers per second."""
        if self.limit == self._base:
            self._base_rate = rate
            self._rest -= 1
            if self._rest < 0:
                self.limit = self._neighbour()
        elif rate >= self._base_rate * (_WORTH_IT if self.limit > self._base else _AS_GOOD):
            self._base, self._base_rate = self.limit, rate
            self.limit = self._neighbour()
        else:
            self.limit, self._rest = self._base, _REST
            self._upwards = not self._upwards

    def _neighbour(self) -> int:
        step = max(1, self._base // 2) if self._upwards else -max(1, self._base // 3)
        neighbour = min(_MOST, max(1, self._base + step))
        if neighbour == self._base:
            self._upwards, self._rest = not self._upwards, _REST
        return neighbour

    def _move_to(self, slots: int) -> None:
        self.limit = self._base = min(_MOST, slots)
        self._begin(None)
