"""A tone for generated files that should have an audio stream."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.packet import Packet

RATE = 48_000
_BLOCK = 4_800


class Tone:
    """Encodes 440 Hz, mono, into a new audio stream of ``container``."""

    def __init__(self, container: Any, encoder: str = "aac") -> None:
        self._stream = container.add_stream(encoder, rate=RATE, layout="mono")
        self._written = 0

    def until(self, time_s: float) -> Iterator[Packet[Any]]:
        """Return the packets up to ``time_s``, from where the last call ended."""
        while self._written < time_s * RATE:
            phase = np.arange(self._written, self._written + _BLOCK) * (440 / RATE * 2 * np.pi)
            samples = (np.sin(phase) * 0.2).astype(np.float32).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, self._written, Fraction(1, RATE)
            self._written += _BLOCK
            yield from self._stream.encode(frame)

    def end(self) -> Iterator[Packet[Any]]:
        """Return the packets that the encoder still holds."""
        yield from self._stream.encode(None)
