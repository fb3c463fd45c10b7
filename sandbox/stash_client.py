"""A plain GraphQL client for tests and demos: one request, and everything that came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Reply:
    """Reply of a server. ``cookie``: the value of the session cookie it set, or None."""

    status: int
    content_type: str
    body: Any
    cookie: str | None

    @property
    def data(self) -> Any:
        """The reply's data, None where there is none."""
        return self.body.get("data") if isinstance(self.body, dict) else None

    @property
    def messages(self) -> dict[str, str]:
        """The errors' messages by the alias or field they belong to; "" for the whole request."""
        errors = self.body.get("errors", []) if isinstance(self.body, dict) else []
        return {str((error.get("path") or [""])[0]): error["message"] for error in errors}


def ask(
    url: str,
    document: str,
    variables: Mapping[str, Any] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Reply:
    """Send one document to the server at ``url``.

    ``more``: further keys of the request, as ``operationName``.
    """
    response = requests.post(
        f"{url}/graphql",
        json={"query": document, "variables": dict(variables or {}), **more},
        headers={"Accept": "application/json", **(headers or {})},
        timeout=_PATIENCE_S,
    )
    is_json = "json" in response.headers.get("Content-Type", "")
    return Reply(
        status=response.status_code,
        content_type=response.headers.get("Content-Type", ""),
        body=response.json() if is_json else response.text,
        cookie=response.cookies.get("session"),
    )
