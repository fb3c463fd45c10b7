"""Agreement of cheaper styles of question with full pictures and verdicts, on the same frames, and
the choice of a style. Pure.

No person has said what the frames show, so nothing here tells which style is right. The reference
is the style in which a model can be expected to see most. Both err, and often at the same frames:
agreement is not accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from vlm_engine.store import PairCounts, TagPairs
from vlm_engine.tagging.style_evidence import ENOUGH, weigh
from vlm_engine.types import QuestionStyle

LEAST_SEEN = 50
"""Sightings of the reference below which nothing is proposed: about 20 frames with 2 or 3 tags."""
LEAST_TAG_SEEN = 5
"""Sightings of a tag by the reference from which on the tag is judged by itself."""
_MISSES_LEVEL, _ADDS_LEVEL = 0.2, 0.05
_LEAST_AGREEMENT = 0.5
_LEAST_SAVING = 0.05
_NORMAL_95 = 1.96


class Fit(Enum):
    """Judgement of a style against the reference, in words; see ``judged``."""

    REFERENCE = "the reference"
    AGREES = "as good as the reference, as far as this can tell"
    BLIND = "it mostly misses what another style sees of"
    MISSES = "it misses more than the reference"
    ADDS = "it sees more than the reference, perhaps what is not there"
    DIFFERS = "it agrees too seldom"
    TOO_FEW = "too few sightings to tell"


@dataclass(frozen=True, slots=True)
class StyleFigures:
    """Figures of one style of question.

    ``small``: its pictures are small ones. ``frames``: those asked about in it and in the
    reference. ``questions``: those of them that were asked now; the others were known. ``seconds``:
    the endpoint's time for a question. The tokens are means of the questions asked now. ``tags``:
    counts by tag, in which this style is the usual and the reference the other one.
    """

    style: QuestionStyle
    small: bool
    frames: int
    questions: int
    seconds: float
    prompt_tokens: float
    answer_tokens: float
    tags: Mapping[str, PairCounts]

    @property
    def both(self) -> int:
        """Sightings, which are pairs of a frame and a tag, of this style and the reference."""
        return sum(counts.both for counts in self.tags.values())

    @property
    def missed(self) -> int:
        """Sightings of the reference alone."""
        return sum(counts.only_other for counts in self.tags.values())

    @property
    def added(self) -> int:
        """Sightings of this style alone."""
        return sum(counts.only_usual for counts in self.tags.values())

    @property
    def sightings(self) -> int:
        """Sightings of either."""
        return self.both + self.missed + self.added

    def agreement(self) -> tuple[float, float, float]:
        """Return the share of the sightings that both had, and its 95 % interval."""
        share = self.both / self.sightings if self.sightings else 0.0
        return share, *wilson(self.both, self.sightings)

    def blind_tags(self) -> tuple[str, ...]:
        """Return the tags that this style hardly ever sees, of those that the reference saw often
        enough.
        """
        pairs = {tag: TagPairs(counts) for tag, counts in self.tags.items()}
        factors = weigh(pairs, everywhere=False).by_tag
        return tuple(
            tag
            for tag, counts in self.tags.items()
            if seen_by_reference(counts) >= LEAST_TAG_SEEN and factors[tag] > ENOUGH
        )


def judged(figures: StyleFigures) -> Fit:
    """Return whether a style will do in place of the reference. The first that holds counts:

    - ``BLIND``: of a tag that the reference saw on ``LEAST_TAG_SEEN`` frames or more, it misses
      most. That is the evidence that decides ``auto``, a Bayes factor of 20 (``style_evidence``):
      it allows for the rate at which the model errs on all tags.
    - ``TOO_FEW``: the reference had fewer than ``LEAST_SEEN`` sightings.
    - ``MISSES``: of the sightings of one alone, more are the reference's, and so many more would
      come by chance in less than a fifth of the cases if both missed alike (McNemar's exact test,
      one side). A style that errs 1.3 times as often costs more than it saves, and at the usual
      level of a twentieth 40 frames would hardly ever tell it from the reference. The price of
      this level: a style that is as good is turned down in a fifth of the cases, and the user
      keeps the next cheapest one.
    - ``ADDS``: the same for sightings of the style alone, at the usual level: the reference may
      have missed them.
    - ``DIFFERS``: the 95 % interval of the agreement reaches below one half. A style that misses
      and adds alike passes the tests above; this catches the worst of that kind.

    In simulations of 40 frames with two or three of 20 tags each, where the reference misses 10 to
    20 % and styles share four fifths of their errors, this accepts 82 to 88 % of the styles that
    are as good, 30 to 52 % of those that miss 1.3 times as much, and at most 4 % of those that miss
    twice as much. Where no errors are shared, it accepts two thirds of the second kind.
    """
    if figures.blind_tags():
        return Fit.BLIND
    if figures.both + figures.missed < LEAST_SEEN:
        return Fit.TOO_FEW
    apart = figures.missed + figures.added
    if at_least(figures.missed, apart) < _MISSES_LEVEL:
        return Fit.MISSES
    if at_least(figures.added, apart) < _ADDS_LEVEL:
        return Fit.ADDS
    _, low, _ = figures.agreement()
    return Fit.AGREES if low >= _LEAST_AGREEMENT else Fit.DIFFERS


@dataclass(frozen=True, slots=True)
class FrameComparison:
    """Frames of a user's videos, asked about by ``model`` in every style.

    ``videos``: number of videos that they are of. ``skipped``: why others could not be used.
    ``failures``: why questions failed, each reason once. ``is_measured``: ``seconds`` were measured
    on these frames; otherwise they follow from what questions cost in general.
    """

    model: str
    frames: int
    videos: int
    skipped: tuple[str, ...]
    failures: tuple[str, ...]
    is_measured: bool
    reference: StyleFigures
    others: tuple[StyleFigures, ...]

    @property
    def fits(self) -> Mapping[QuestionStyle, Fit]:
        """The judgement of each style."""
        fits = {figures.style: judged(figures) for figures in self.others}
        return {self.reference.style: Fit.REFERENCE, **fits}

    @property
    def proposal(self) -> StyleFigures | None:
        """The cheapest style that agrees with the reference, where it saves a twentieth; else the
        reference. None if there were too few sightings to tell.
        """
        most_s, fits = (1 - _LEAST_SAVING) * self.reference.seconds, self.fits
        cheaper = [figures for figures in self.others if figures.seconds <= most_s]
        agreeing = [figures for figures in cheaper if fits[figures.style] is Fit.AGREES]
        if agreeing:
            return min(agreeing, key=lambda figures: figures.seconds)
        in_doubt = any(fits[figures.style] is Fit.TOO_FEW for figures in cheaper)
        return None if in_doubt or not self.reference.frames else self.reference

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings of a model that ask in the proposed style; none without a proposal."""
        if self.proposal is None:
            return {}
        sizes = {figures.small for figures in (self.reference, *self.others)}
        size = {"frame_size": "small" if self.proposal.small else "full"} if len(sizes) > 1 else {}
        return {**size, "answer_form": str(self.proposal.style.form)}

    @property
    def frames_needed(self) -> int | None:
        """Number of frames, in tens, that would probably be enough; None if nothing was seen."""
        seen = self.reference.both
        return math.ceil(self.frames * LEAST_SEEN / seen / 10) * 10 if seen else None


def seen_by_reference(counts: PairCounts) -> int:
    """Return the number of frames on which the reference saw the tag."""
    return counts.both + counts.only_other


def counts_by_tag(
    pairs: Sequence[tuple[Mapping[str, bool], Mapping[str, bool]]],
) -> dict[str, PairCounts]:
    """Return the counts by tag. ``pairs``: what a style and the reference saw, frame by frame; a
    tag that one of them lacks does not count.
    """
    counts: dict[str, list[int]] = {}
    for seen, by_reference in pairs:
        for tag in seen.keys() & by_reference.keys():
            cells = counts.setdefault(tag, [0, 0, 0, 0])
            cells[0] += 1
            if seen[tag] or by_reference[tag]:
                cells[1 if seen[tag] and by_reference[tag] else 2 if seen[tag] else 3] += 1
    return {tag: PairCounts(*counts[tag]) for tag in sorted(counts)}


def wilson(successes: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, *Probable inference, the law of succession, and
    statistical inference*, 1927).
    """
    if not total:
        return 0.0, 1.0
    share, z = successes / total, _NORMAL_95
    middle = share + z * z / (2 * total)
    reach = z * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    scale = 1 + z * z / total
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def at_least(count: int, total: int) -> float:
    """Return the probability of ``count`` heads or more in ``total`` tosses of a fair coin."""
    return sum(math.comb(total, heads) for heads in range(count, total + 1)) / (1 << total)


def mcnemar(missed: int, added: int) -> float:
    """Return the p value of the exact test, two-sided, that both miss alike (McNemar, *Note on the
    sampling error of the difference between correlated proportions*, 1947).
    """
    return min(1.0, 2 * at_least(max(missed, added), missed + added))
