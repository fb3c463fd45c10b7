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


FUNCTIONS: Mapping[str, Callable[[PageContext, Any], Any]] = {
    "status": _status,
}
"""The function of each operation. It takes the context and parsed arguments, and returns the
value. It raises ``PageError``, ``StashError`` or ``VLMEngineError``.
"""
