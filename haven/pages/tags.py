"""Tags of Stash's tree, and counts for each tag that is looked for, or was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

from haven.items import ItemRef
from haven.pages.context import PageContext
from haven.pages.contract import TagResult, TagResults, TagTree, TreeTag
from haven.pages.evidence import open_journal
from haven.settings.merge import CONTROL_TAGS, tags_of
from haven.stash.changes import DecisionKind, Judged, Judgement
from haven.stash.values import tag_key
from vlm_engine import EngineConfig


def tag_tree(context: PageContext) -> TagTree:
    """Return all tags of Stash, and what a user should know of those that are chosen. Raises
    ``StashError``.
    """
    merged = context.merged_settings()
    chosen = set(map(tag_key, tags_of(merged.engine())))
    name_of = {one.tag.id: one.name for one in merged.chosen.tags}
    former: dict[str, list[str]] = {}
    for before, name in merged.chosen.former.items():
        former.setdefault(name, []).append(before)
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
    with open_journal(context) as journal:
        found = journal.counts_in_stash()
        judged = _judged(journal.all_judgements())
    thresholds = dict(_thresholds(merged.engine()))
    steering = {merged.values[name] for name in CONTROL_TAGS}
    names = dict.fromkeys((*thresholds, *found, *(tag for tag, _ in judged)))
    return TagResults(
        tuple(
            TagResult(
                name=name,
                found=found.get(name, 0),
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
