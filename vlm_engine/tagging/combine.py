"""What several looks at one picture say together. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vlm_engine.types import Verdict

ENOUGH = 0.3
"""Of a moving picture: the share of its moments that have to show a tag, each counted by how sure the model was."""


def of_moments(looks: Sequence[Mapping[str, Verdict]], unseen: int = 0) -> dict[str, Verdict]:
    """Verdicts on a moving picture from those on its moments, of which ``unseen`` more could not be looked at.

    A tag applies when the confidences of the looks that show it add up to at least three tenths of the number of moments; where
    no confidence was told, a look counts 1. Its own confidence is the mean of those told.
    """
    return {tag: _over_time([look[tag] for look in looks], len(looks) + unseen) for tag in looks[0]}


def _over_time(verdicts: Sequence[Verdict], moments: int) -> Verdict:
    seen = [verdict for verdict in verdicts if verdict.present]
    told = [verdict.probability for verdict in seen if verdict.probability is not None]
    weight = sum(told) + len(seen) - len(told)
    return Verdict(
        bool(seen) and weight >= ENOUGH * moments - 1e-9, sum(told) / len(told) if told else None
    )


def of_parts(looks: Sequence[Mapping[str, Verdict]]) -> dict[str, Verdict]:
    """Verdicts on a still from those on the whole and its parts: a tag applies when one of them shows it.

    Its confidence is that of the surest; None where one was not told.
    """
    return {tag: _anywhere([look[tag] for look in looks]) for tag in looks[0]}


def _anywhere(verdicts: Sequence[Verdict]) -> Verdict:
    seen = [verdict.probability for verdict in verdicts if verdict.present]
    told = [probability for probability in seen if probability is not None]
    if seen:
        return Verdict(True, max(told) if len(told) == len(seen) else None)
    absent = [verdict.probability for verdict in verdicts if verdict.probability is not None]
    return Verdict(False, max(absent, default=None))
