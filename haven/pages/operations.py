"""All operations. A new one is a row in the contract, a function here, and one in a module of its
group, which is imported when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from haven.pages import contract
from haven.pages.context import PageContext


def _status(context: PageContext, _: contract.Nothing) -> contract.Status:
    from haven.pages.status import status

    return status(context)


def _frames(context: PageContext, arguments: contract.FramesArguments) -> contract.Frames:
    from haven.pages.frames import frames

    return frames(context, arguments)


def _settings(context: PageContext, _: contract.Nothing) -> contract.SettingsValue:
    from haven.pages.settings import settings

    return settings(context)


def _change_settings(
    context: PageContext, arguments: contract.ChangeSettingsArguments
) -> contract.SettingsValue:
    from haven.pages.settings import change_settings

    return change_settings(context, arguments)


def _earlier_settings(
    context: PageContext, arguments: contract.EarlierSettingsArguments
) -> contract.EarlierSettingsValue:
    from haven.pages.earlier import earlier_settings

    return earlier_settings(context, arguments)


def _undo_settings(
    context: PageContext, arguments: contract.UndoSettingsArguments
) -> contract.SettingsValue:
    from haven.pages.settings import undo_settings

    return undo_settings(context, arguments)


def _models(context: PageContext, arguments: contract.EndpointArguments) -> contract.Models:
    from haven.pages.endpoints import models

    return models(context, arguments)


def _check(context: PageContext, arguments: contract.CheckArguments) -> contract.Sections:
    from haven.pages.endpoints import check

    return check(context, arguments)


def _forecast(context: PageContext, arguments: contract.ForecastArguments) -> contract.Sections:
    from haven.pages.forecast import forecast

    return forecast(context, arguments)


def _tag_tree(context: PageContext, _: contract.Nothing) -> contract.TagTree:
    from haven.pages.tags import tag_tree

    return tag_tree(context)


def _runs(context: PageContext, arguments: contract.RunsArguments) -> contract.RunList:
    from haven.pages.runs import runs

    return runs(context, arguments)


def _run(context: PageContext, arguments: contract.RunArguments) -> contract.RunReportValue:
    from haven.pages.runs import run

    return run(context, arguments)


def _run_page(context: PageContext, arguments: contract.RunArguments) -> contract.RunPage:
    from haven.pages.runs import run_page

    return run_page(context, arguments)


def _preview_undo(
    context: PageContext, arguments: contract.RunItemArguments
) -> contract.UndoPreview:
    from haven.pages.runs import preview_undo

    return preview_undo(context, arguments)


def _scene(context: PageContext, arguments: contract.ItemArguments) -> contract.ItemEvidence:
    from haven.pages.evidence import scene

    return scene(context, arguments)


def _image(context: PageContext, arguments: contract.ItemArguments) -> contract.ItemEvidence:
    from haven.pages.evidence import image

    return image(context, arguments)


def _gallery(context: PageContext, arguments: contract.ItemArguments) -> contract.ItemEvidence:
    from haven.pages.evidence import gallery

    return gallery(context, arguments)


def _decide(context: PageContext, arguments: contract.DecideArguments) -> contract.ItemEvidence:
    from haven.pages.decisions import decide

    return decide(context, arguments)


def _undo_decision(
    context: PageContext, arguments: contract.UndoArguments
) -> contract.ItemEvidence:
    from haven.pages.decisions import undo_decision

    return undo_decision(context, arguments)


def _tag_results(context: PageContext, _: contract.Nothing) -> contract.TagResults:
    from haven.pages.tags import tag_results

    return tag_results(context)


def _least_sure(context: PageContext, arguments: contract.LeastSureArguments) -> contract.LeastSure:
    from haven.pages.tags import least_sure

    return least_sure(context, arguments)


FUNCTIONS: Mapping[str, Callable[[PageContext, Any], Any]] = {
    "status": _status,
    "frames": _frames,
    "settings": _settings,
    "change_settings": _change_settings,
    "earlier_settings": _earlier_settings,
    "undo_settings": _undo_settings,
    "models": _models,
    "check": _check,
    "forecast": _forecast,
    "runs": _runs,
    "run": _run,
    "run_page": _run_page,
    "preview_undo": _preview_undo,
    "tag_results": _tag_results,
    "least_sure": _least_sure,
    "tag_tree": _tag_tree,
    "scene": _scene,
    "image": _image,
    "gallery": _gallery,
    "decide": _decide,
    "undo_decision": _undo_decision,
}
"""The function of each operation. It takes the context and parsed arguments, and returns the
value. It raises ``PageError``, ``StashError`` or ``VLMEngineError``.
"""
