"""The operations ``decide`` and ``undo_decision``."""

from __future__ import annotations

from haven.items import ItemKind, ItemRef
from haven.pages.context import PageContext
from haven.pages.contract import DecideArguments, Decision, ItemEvidence, UndoArguments
from haven.pages.errors import BadRequestError
from haven.pages.evidence import item_evidence, open_journal
from haven.stash import decisions
from haven.stash.changes import DecisionKind


def decide(context: PageContext, arguments: DecideArguments) -> ItemEvidence:
    """Carry out decisions in their order. Return what is known about the item then.

    Raises ``BadRequestError`` before anything is written, and what ``DecisionWriter`` raises.
    """
    ref = ItemRef(ItemKind(arguments.kind), arguments.id)
    wanted = [
        _decision(one, ref, f"decisions[{index}]") for index, one in enumerate(arguments.decisions)
    ]
    names = context.settings().tag_names
    with open_journal(context) as journal:
        writer = decisions.DecisionWriter(context.client, journal, names)
        writer.decide(ref, arguments.revision, wanted)
        return item_evidence(context, journal, ref)


def undo_decision(context: PageContext, arguments: UndoArguments) -> ItemEvidence:
    """Undo the latest decision about an item. Return what is known about it then. Raises what
    ``DecisionWriter`` raises.
    """
    ref, names = ItemRef(ItemKind(arguments.kind), arguments.id), context.settings().tag_names
    with open_journal(context) as journal:
        decisions.DecisionWriter(context.client, journal, names).undo_last(ref, arguments.revision)
        return item_evidence(context, journal, ref)


def _decision(given: Decision, ref: ItemRef, place: str) -> decisions.Decision:
    """Return a decision whose stretches are whole. Raises ``BadRequestError``."""
    if given.end_s < given.start_s:
        raise BadRequestError(f"{place}.end_s: is before start_s")
    new_s = (given.new_start_s, given.new_end_s)
    if ref.kind is not ItemKind.SCENE and (
        given.kind == "adjust" or given.end_s or given.marker_id
    ):
        raise BadRequestError(f"{place}: only scenes have moments and markers")
    if given.kind == "adjust":
        if new_s[0] is None or new_s[1] is None or new_s[1] <= new_s[0]:
            raise BadRequestError(f"{place}: adjust needs new_start_s and a later new_end_s")
    elif new_s != (None, None):
        raise BadRequestError(f"{place}: only adjust takes new_start_s and new_end_s")
    return decisions.Decision(
        DecisionKind(given.kind),
        given.tag,
        given.start_s,
        given.end_s,
        given.marker_id or "",
        *new_s,
    )
