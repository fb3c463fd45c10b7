"""The cluster over which videos and pictures are spread, and its workers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator, model_validator

from vlm_engine.config.base import SettingsGroup

_LOCAL = re.compile(r"local:(\d+)")
_MOST_LOCAL = 256
_SCHEMES = ("tcp://", "tls://", "ws://", "wss://")


class ClusterConfig(SettingsGroup):
    """A Dask cluster whose workers look at videos and pictures."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    address: str
    """The address of its scheduler, like `tcp://host:8786`, or `tls://host:8786` with
    certificates. `local:4` starts four workers on this machine for the time of a run."""

    paths: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)
    """Folders as the workers have them: `{worker: {folder here: folder there}}`. A worker is named
    by its name, its host or its address; `"*"` stands for every worker that is not named."""

    ca_file: str | None = None
    """A PEM file of the certificates to trust, for `tls://`."""

    cert_file: str | None = None
    """A PEM file with this machine's own certificate, for `tls://`."""

    key_file: str | None = None
    """A PEM file with the key of that certificate, where it is not in `cert_file`."""

    @model_validator(mode="before")
    @classmethod
    def _an_address_alone(cls, data: Any) -> Any:
        return {"address": data} if isinstance(data, str) else data

    @field_validator("address")
    @classmethod
    def _an_address(cls, address: str) -> str:
        address = address.strip()
        local = _LOCAL.fullmatch(address)
        if local and 1 <= int(local[1]) <= _MOST_LOCAL:
            return address
        if address.startswith(_SCHEMES) and re.search(r"//[^/\s:]+(:\d+)?/?$|//\[.+\]", address):
            return address
        raise ValueError(
            f"{address!r} is no address of a cluster; write it like tcp://host:8786, or local:4 "
            "for four workers on this machine"
        )

    @property
    def local_workers(self) -> int:
        """Number of workers to start on this machine; 0 for a cluster that is there."""
        local = _LOCAL.fullmatch(self.address)
        return int(local[1]) if local else 0

    def paths_of(self, *names: str) -> Mapping[str, str]:
        """Return the folders of the worker that has one of these names."""
        named = (self.paths[name] for name in (*names, "*") if name in self.paths)
        return next(named, {})
