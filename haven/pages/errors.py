"""Failures of a call that the page may expect, each with its code."""

from __future__ import annotations

from typing import ClassVar

from haven.pages.contract import Code


class PageError(Exception):
    """The root. Its message is for the person at the page."""

    code: ClassVar[Code] = "unexpected"


class BadRequestError(PageError):
    """The call does not fit the contract. The message names the field."""

    code = "bad_request"


class NotFoundError(PageError):
    """There is no such scene, image, run or endpoint."""

    code = "not_found"


class BusyError(PageError):
    """Another process is writing. Repeat the call later."""

    code = "busy"


class ChangedError(PageError):
    """The call was made against an older revision. Read again, and repeat the change."""

    code = "changed"
