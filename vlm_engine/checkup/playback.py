"""A queue of videos played through in virtual time: rounds of questions, endpoints with slots.

It follows the engine. Some videos go on at a time, and each round of a video waits for the one
before. Frames of a video are decoded one after the other, only a few more than there are slots. A
free endpoint takes the next question, the fastest one first. A slow one leaves a question to faster
ones that would answer it sooner, and what it is late with is asked again of the fastest. Pure.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from vlm_engine.types import QuestionCost

_AHEAD = 8
"""Frames that are decoded and wait for a slot."""
_VIDEOS_AHEAD = 2
_ARRIVALS_DECAY_S = 2.0
_WORTH_A_COPY, _COPY_SHARE, _MOST_COPIES = 2.0, 0.1, 32.0
_LARGER, _LARGE = 4.0, 2.5
"""Times as many pixels as usual that a picture in full size has, and times as long as usual that a
question about it takes where its cost is not known.
"""
_HERE_S = 0.01
"""Seconds that this machine needs to ask one question more at once, which are not the server's."""
_TOKENS = 8
"""Tokens of a usual answer."""


@dataclass(frozen=True, slots=True)
class EndpointSpeed:
    """Seconds of a usual question to one endpoint: about a small picture, for a list.

    ``alone_s``: with no other question beside it. ``full_s``: of each while ``measured_at_once``
    were in flight, which should be no more than ``slots``. ``cost``: its parts, if they are known.
    """

    name: str
    slots: int
    alone_s: float
    full_s: float
    measured_at_once: int = 4
    is_fallback: bool = False
    cost: QuestionCost | None = None

    def seconds(self, in_flight: int) -> float:
        """Return the seconds of a question while so many are in flight.

        One part of it grows with their number, because they share the server; the other does not.
        """
        others = max(1, self.measured_at_once - 1)
        shared_s = (self.full_s - self.alone_s) / others - _HERE_S
        return self.alone_s + min(self.alone_s, max(0.0, shared_s)) * (in_flight - 1)

    @property
    def per_s(self) -> float:
        """Usual questions in a second while every slot is in use."""
        return self.slots / self.seconds(self.slots)

    @property
    def large(self) -> float:
        """Times as long as usual that a question about a picture in full size takes."""
        if self.cost is None:
            return _LARGE
        rest_s = self.cost.call_s + _TOKENS * self.cost.answer_token_s
        return (rest_s + _LARGER * self.cost.picture_s) / (rest_s + self.cost.picture_s)


@dataclass(frozen=True, slots=True)
class Round:
    """Number of questions about one video that can be asked at once, perhaps in full size."""

    questions: int
    is_large: bool = False


@dataclass(frozen=True, slots=True)
class Played:
    """The times of a queue in seconds.

    ``model_s``: those in which each endpoint worked, added. ``last_begun_s``: until the last video
    began; ``answered_by_then``: questions answered until then.
    """

    seconds: float
    model_s: float
    last_begun_s: float
    answered_by_then: int


def play(
    videos: Iterable[Sequence[Round]],
    speeds: Sequence[EndpointSpeed],
    at_once: int,
    frame_s: float = 0.0,
) -> Played:
    """Play the queue through, at most ``at_once`` videos at a time.

    ``speeds``: at least one. ``frame_s``: the seconds that a frame takes to decode.
    """
    playback = _Playback(videos, speeds, frame_s)
    slots = sum(speed.slots for speed in speeds)
    for _ in range(min(at_once, slots + _VIDEOS_AHEAD)):
        playback.begin_next()
    while playback.step():
        pass
    return playback.played()


@dataclass(eq=False, slots=True)
class _Video:
    """A video and its round: frames that are not decoded yet, and questions without an answer."""

    rounds: deque[Round]
    is_large: bool = False
    undecoded: int = 0
    unanswered: int = 0


@dataclass(eq=False, slots=True)
class _Member:
    """An endpoint. ``times_s``: the seconds of a question beside 0, 1, 2, … others."""

    slots: int
    times_s: Sequence[float]
    large: float
    requests: dict[_Request, None] = field(default_factory=dict)

    @classmethod
    def of(cls, speed: EndpointSpeed) -> _Member:
        times_s = [speed.seconds(number) for number in range(1, speed.slots + 1)]
        return cls(speed.slots, times_s, speed.large)

    @property
    def usual_s(self) -> float:
        """Seconds of a question while every slot is in use."""
        return self.times_s[-1]

    @property
    def has_slot(self) -> bool:
        """True while another question can be sent."""
        return len(self.requests) < self.slots


@dataclass(eq=False, slots=True)
class _Request:
    """A question to ``member`` that ends at ``end_s``, and its copy to a faster one."""

    video: _Video
    member: _Member
    end_s: float
    copy: _Request | None = None


class _Playback:
    def __init__(
        self, videos: Iterable[Sequence[Round]], speeds: Sequence[EndpointSpeed], frame_s: float
    ) -> None:
        self._left = deque(_Video(deque(rounds)) for rounds in videos)
        self._members = sorted(map(_Member.of, speeds), key=lambda member: member.usual_s)
        self._frame_s = frame_s
        self._places = _AHEAD + sum(member.slots for member in self._members)
        self._undecoded: deque[_Video] = deque()
        self._queue: deque[_Video] = deque()
        self._events: list[tuple[float, int, _Video | _Request]] = []
        self._pushed = 0
        self._now = 0.0
        self._arrivals_per_s, self._arrived = 0.0, 0.0
        self._copies = 1.0
        self._model_s = 0.0
        self._answered = 0
        self._last_begun = 0.0, 0

    def played(self) -> Played:
        """Return the times until now."""
        return Played(self._now, self._model_s, *self._last_begun)

    def begin_next(self) -> None:
        """Begin the next video, if one is left."""
        if self._left:
            self._last_begun = self._now, self._answered
            self._begin_round(self._left.popleft())

    def step(self) -> bool:
        """Go on to the next frame or answer. Return False at the end."""
        self._decode()
        self._ask()
        if not self._queue:
            self._copy()
        if not self._events:
            return False
        time_s, _, event = heapq.heappop(self._events)
        if isinstance(event, _Video):
            self._now = time_s
            self._enqueue(event)
        elif event in event.member.requests:
            self._now = time_s
            self._take_answer(event)
        return True

    def _begin_round(self, video: _Video) -> None:
        if not video.rounds:
            self.begin_next()
            return
        current = video.rounds.popleft()
        video.is_large = current.is_large
        video.undecoded = video.unanswered = current.questions
        self._undecoded.append(video)

    def _decode(self) -> None:
        """Decode the next frame of each video that waits, while there are places for them."""
        while self._undecoded and self._places:
            video = self._undecoded.popleft()
            self._places -= 1
            if self._frame_s:
                self._push(self._now + self._frame_s, video)
            else:
                self._enqueue(video)

    def _enqueue(self, video: _Video) -> None:
        self._arrivals_per_s, self._arrived = self._per_s() + 1 / _ARRIVALS_DECAY_S, self._now
        self._copies = min(_MOST_COPIES, self._copies + _COPY_SHARE)
        self._queue.append(video)
        video.undecoded -= 1
        if video.undecoded:
            self._undecoded.append(video)

    def _ask(self) -> None:
        """Give queued questions to endpoints with free slots."""
        faster_per_s = 0.0
        for member in self._members:
            while self._queue and member.has_slot:
                if faster_per_s and self._defers(member, faster_per_s):
                    break
                self._send(self._queue.popleft(), member)
            faster_per_s += member.slots / member.usual_s

    def _defers(self, member: _Member, faster_per_s: float) -> bool:
        """Return whether faster endpoints would answer all that is queued before this one does.

        Questions that probably arrive meanwhile count as queued.
        """
        queued = len(self._queue) + self._per_s() * member.usual_s
        return member.usual_s > queued / faster_per_s + self._members[0].usual_s

    def _send(self, video: _Video, member: _Member) -> _Request:
        seconds = member.times_s[len(member.requests)] * (member.large if video.is_large else 1.0)
        request = _Request(video, member, self._now + seconds)
        member.requests[request] = None
        self._push(request.end_s, request)
        self._model_s += seconds / len(member.requests)
        return request

    def _copy(self) -> None:
        """Send questions that slow endpoints have to fast ones, too, which are idle."""
        fastest, *others = self._members
        for member in reversed(others):
            if member.usual_s <= _WORTH_A_COPY * fastest.usual_s:
                return
            for request in [*member.requests]:
                if self._copies < 1 or not fastest.has_slot:
                    return
                if (
                    request.copy is None
                    and request.end_s - self._now > _WORTH_A_COPY * fastest.usual_s
                ):
                    self._copies -= 1
                    request.copy = self._send(request.video, fastest)
                    request.copy.copy = request

    def _take_answer(self, request: _Request) -> None:
        for each in (request, request.copy):
            if each is not None:
                del each.member.requests[each]
        self._places += 1
        self._answered += 1
        request.video.unanswered -= 1
        if not request.video.unanswered:
            self._begin_round(request.video)

    def _push(self, time_s: float, event: _Video | _Request) -> None:
        self._pushed += 1
        heapq.heappush(self._events, (time_s, self._pushed, event))

    def _per_s(self) -> float:
        """Return the questions that arrive in a second, those of the last seconds above all."""
        since_s = self._now - self._arrived
        return self._arrivals_per_s * math.exp(-since_s / _ARRIVALS_DECAY_S)
