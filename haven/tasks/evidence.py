"""The evidence of a result: what was seen, before thresholds, under the names and thresholds of the
settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from haven.settings.settings import Settings
from haven.stash.evidence import UNKNOWN_JUDGE, Evidence, FrameSeen, TagSeen
from vlm_engine import ImageResult, ModelIdentity, Span, Verdict, VideoResult


def evidence_of_video(title: str, task: str, result: VideoResult, settings: Settings) -> Evidence:
    """Return what was seen of a video. A tag of two categories counts once."""
    spans = [span for findings in result.findings for span in findings.spans]
    seen = [one for findings in result.findings for _, one in findings.observations]
    verdicts: dict[float, dict[str, Verdict]] = {}
    for one in sorted(seen, key=lambda one: not one.scanned):  # the judge has the last word
        verdicts.setdefault(round(one.time_s, 3), {}).update(one.verdicts)
    return Evidence(
        title,
        task,
        _models(result.judges, settings),
        _tags(spans, verdicts.values(), settings, result.judges),
        tuple(FrameSeen(time_s, of_frame) for time_s, of_frame in sorted(verdicts.items())),
        result.video.duration_s,
        result.gaps_s,
        effort=result.effort,
    )


def evidence_of_image(title: str, task: str, result: ImageResult, settings: Settings) -> Evidence:
    """Return what was seen of a picture."""
    verdicts = {
        tag: verdict for by_tag in result.verdicts.values() for tag, verdict in by_tag.items()
    }
    tags = _tags((), [verdicts], settings, result.judges)
    models = _models(result.judges, settings)
    return Evidence(title, task, models, tags, (FrameSeen(0.0, verdicts),))


def _tags(
    spans: Iterable[Span],
    verdicts: Iterable[Mapping[str, Verdict]],
    settings: Settings,
    judges: Mapping[str, ModelIdentity],
) -> tuple[TagSeen, ...]:
    """Return the tags of the list, and any other that was seen."""
    by_tag: dict[str, list[Span]] = {}
    seen: dict[str, TagSeen] = {}
    for model in settings.engine.active_models().values():
        rule_of = settings.engine.rule_of(model.category)
        judge = judges.get(model.category, UNKNOWN_JUDGE)
        for tag in model.tag_list:
            rule = rule_of(tag)
            name = rule.renamed or tag
            seen.setdefault(tag, TagSeen(tag, name, rule.threshold, judge=judge))
    for span in spans:
        by_tag.setdefault(span.tag, []).append(span)
    others = dict.fromkeys([*by_tag, *(tag for of_frame in verdicts for tag in of_frame)])
    threshold = settings.engine.default_rule.threshold
    every = {**{tag: TagSeen(tag, tag, threshold) for tag in others}, **seen}
    return tuple(replace(one, spans=_in_order(by_tag.get(one.tag, ()))) for one in every.values())


def _in_order(spans: Iterable[Span]) -> tuple[Span, ...]:
    return tuple(sorted(spans, key=lambda span: span.start_s))


def _models(judges: Mapping[str, ModelIdentity], settings: Settings) -> str:
    """Return the models that judged, by the names that their servers give. Those of the settings
    if a pipeline of the user's own names none.
    """
    configured = (model.model_id or "" for model in settings.engine.active_models().values())
    named = (judge.model for judge in judges.values())
    return ", ".join(dict.fromkeys(filter(None, named if judges else configured)))
