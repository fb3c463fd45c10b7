"""Tags of Stash's tree, and counts for each tag that is looked for, or was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from haven.items import ItemRef
from haven.pages.context import PageContext
from haven.pages.contract import (
    LeastSure,
    LeastSureArguments,
    TagResult,
    TagResults,
    TagTree,
    TreeTag,
    UnsureMarker,
)
from haven.pages.evidence import open_journal
from haven.settings.merge import CONTROL_TAGS, Merged, tags_of
from haven.stash.changes import DecisionKind, Judged, Judgement
from haven.stash.reading import read_all
from haven.stash.values import Scene, tag_key
from vlm_engine import EngineConfig

_LEAST_SURE = 10


def tag_tree(context: PageContext) -> TagTree:
    """Return all tags of Stash, and what a user should know of those that are chosen. Raises
    ``StashError``.
    """
    merged = context.merged_settings()
    chosen = set(map(tag_key, tags_of(merged.engine())))
    name_of = {one.tag.id: one.name for one in merged.chosen.tags}
    former = _former_names(merged)
    steering = {tag_key(merged.values[name]) for name in CONTROL_TAGS}
    return TagTree(
        tuple(
            TreeTag(
                id=tag.id,
                name=tag.name,
                aliases=tag.aliases,
                former_names=tuple(former.get(name_of.get(tag.id, ""), ())),
                meaning=tag.meaning,
                parents=tag.parent_ids,
                ignore_auto_tag=tag.ignore_auto_tag,
                is_chosen=tag.id in name_of
                or not chosen.isdisjoint(map(tag_key, (tag.name, *tag.aliases))),
            )
            for tag in context.tag_tree
            if tag_key(tag.name) not in steering
        ),
        (*merged.chosen.warnings, *merged.chosen.notes),
    )


def tag_results(context: PageContext) -> TagResults:
    """Return what was found of each tag, and what people decided about it. Raises ``StashError``
    and ``JournalError``.
    """
    merged = context.merged_settings()
    former = merged.chosen.former
    found, judged = Counter[str](), Counter[tuple[str, DecisionKind]]()
    with open_journal(context) as journal:
        for name, count in journal.counts_in_stash().items():
            found[former.get(tag_key(name), name)] += count
        for (name, kind), count in _judged(journal.all_judgements()).items():
            judged[former.get(tag_key(name), name), kind] += count
    thresholds = dict(_thresholds(merged.engine()))
    steering = {merged.values[name] for name in CONTROL_TAGS}
    names = dict.fromkeys((*thresholds, *found, *(tag for tag, _ in judged)))
    former_names = _former_names(merged)
    return TagResults(
        tuple(
            TagResult(
                name=name,
                former_names=tuple(former_names.get(name, ())),
                found=found[name],
                kept=judged[name, DecisionKind.KEEP],
                wrong=judged[name, DecisionKind.WRONG],
                adjusted=judged[name, DecisionKind.ADJUST],
                threshold=thresholds.get(name, merged.values["VIDEO_THRESHOLD"]),
                is_looked_for=name in thresholds,
            )
            for name in names
            if name not in steering
        )
    )


def least_sure(context: PageContext, arguments: LeastSureArguments) -> LeastSure:
    """Return the ten markers with the lowest confidences that nobody judged. Raises ``StashError``
    and ``JournalError``.

    Scenes that were tagged by an earlier version are missing until they are tagged again.
    """
    with open_journal(context) as journal:
        spans = journal.least_sure(arguments.tag, _LEAST_SURE)
    scenes = read_all(context.client, Scene, dict.fromkeys(span.scene_id for span in spans))
    titles = {scene.id: scene.title or Path(scene.path).name for scene in scenes}
    return LeastSure(
        tuple(
            UnsureMarker(
                scene=span.scene_id,
                title=titles[span.scene_id],
                tag=span.tag,
                start_s=span.start_s,
                confidence=span.confidence,
            )
            for span in spans
            if span.scene_id in titles
        )
    )


def _former_names(merged: Merged) -> dict[str, list[str]]:
    """Return the former names of tags, by their names in the tag list."""
    names: dict[str, list[str]] = {}
    for before, name in merged.chosen.former.items():
        names.setdefault(name, []).append(before)
    return names


def _judged(judgements: Iterable[tuple[ItemRef, Judgement]]) -> Counter[tuple[str, DecisionKind]]:
    """Count spans by tag and by the latest decision about each. A tag of an image counts as one."""
    counts: Counter[tuple[str, DecisionKind]] = Counter()
    for _, of_item in groupby(judgements, key=lambda pair: pair[0]):
        for judged in Judged.of(judgement for _, judgement in of_item):
            tag = judged.latest.tag
            counts[tag.asked or tag.name, judged.latest.kind] += 1
    return counts


def _thresholds(engine: EngineConfig) -> Iterator[tuple[str, float]]:
    for model in engine.active_models().values():
        rule_of = engine.rule_of(model.category)
        for tag in model.tag_list:
            yield tag, rule_of(tag).threshold
