"""One server: its address in the form in which it is used, its key, and its share of the work."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator

from vlm_engine.config.base import Requests, SettingsGroup
from vlm_engine.errors import ConfigError

_KEY_APART = (
    "write it like http://localhost:1234/v1, and a key apart from it, as the API key (api_key)"
)


class EndpointConfig(SettingsGroup):
    """A server that speaks the OpenAI protocol."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    base_url: str = Field(validation_alias=AliasChoices("base_url", "api_base_url"))
    """Its address, with or without `/v1`."""

    api_key: SecretStr = SecretStr("")
    """Its key. Keys never show in logs and errors."""

    api_key_env: str | None = None
    """The environment variable that holds the key, if `api_key` is empty."""

    name: str = ""
    """Its name in logs, errors and statistics. Empty: its host and port."""

    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Its likely speed compared with the other endpoints, until that has been measured: 2 is
    twice as fast as 1."""

    is_fallback: bool = False
    """Use it only while no other endpoint works (or is fast enough: `fallback_wait` of the
    model)."""

    max_concurrent: Requests | Literal["auto"] | None = None
    """The number of requests it gets at once, from 1 to 1024. `"auto"` finds the number that
    gives the most answers per second. None: what the server says that it takes, else 1."""

    model_id: str | None = None
    """The model's name there. None: `model_id` of the model."""

    worker: str = ""
    """The only worker of a cluster that asks it, by its name, its host or its address: for a
    server that no other machine can reach. Empty: all ask it."""

    ca_file: str | None = None
    """A PEM file of certificates to trust there, besides those of the system."""

    @field_validator("base_url")
    @classmethod
    def _normal_url(cls, url: str) -> str:
        return normal_url(url)

    @field_validator("api_key", mode="before")
    @classmethod
    def _no_key(cls, key: Any) -> Any:
        return "" if key is None else key

    @field_validator("max_concurrent", mode="before")
    @classmethod
    def _number_or_auto(cls, value: Any) -> Any:
        if value is None or value == "auto":
            return value
        if isinstance(value, bool) or not str(value).isdecimal() or not 1 <= int(value) <= 1024:
            raise ValueError('write a number from 1 to 1024, or "auto"')
        return int(value)

    @property
    def label(self) -> str:
        """Its name, else its host and port."""
        return self.name or urlsplit(self.base_url).netloc

    def key(self) -> str:
        """Return the API key, from the setting or from the environment; "" if there is none.

        Raise ``ConfigError`` when ``api_key_env`` names a variable that is not set.
        """
        if self.api_key_env and not self.api_key.get_secret_value():
            if self.api_key_env not in os.environ:
                raise ConfigError(
                    f"endpoint {self.label!r}: api_key_env names {self.api_key_env!r}, which is "
                    "not set"
                )
            return os.environ[self.api_key_env]
        return self.api_key.get_secret_value()


def normal_url(url: str) -> str:
    """Return the address up to and including its version segment: ``host:1234`` becomes
    ``http://host:1234/v1``.

    Raise ``ValueError`` for anything but an http address.
    """
    url = url.strip()
    if re.search(r"[\s,;|<>\"\\^`{}]", url) or url.count("://") > 1:
        raise ValueError(
            "this is not one address; write each like http://localhost:1234/v1, several with a "
            "comma between them"
        )
    if re.match(r"[\w.-]+:\d+(/|$)", url):
        url = f"http://{url}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"{without_secrets(url)!r} is not an address; write it like http://localhost:1234/v1"
        )
    if parts.username or parts.password:
        raise ValueError(
            f"{without_secrets(url)!r} must not hold a user name or password; {_KEY_APART}"
        )
    if not _has_port(parts):
        raise ValueError(
            f"{without_secrets(url)!r} has no port from 1 to 65535; write it like"
            " http://localhost:1234/v1"
        )
    if parts.query or parts.fragment:
        raise ValueError(f"{without_secrets(url)!r} must end with its path; {_KEY_APART}")
    path = re.sub(r"/(chat/completions|models)?/*$", "", parts.path)
    versioned = any(re.fullmatch(r"v\d+\w*", segment) for segment in path.split("/"))
    return f"{parts.scheme}://{parts.netloc}{path}" + ("" if versioned else "/v1")


def without_secrets(url: str) -> str:
    """Return ``url`` without what may be secret: user name, password, and everything after the
    path.
    """
    address = re.sub(r"^([\w+.-]*://|)[^/?#]*@", r"\1…@", url)
    return re.sub(r"[?#].*", "?…", address, flags=re.DOTALL)


def _has_port(parts: SplitResult) -> bool:
    """Return False if a port is written that cannot be."""
    try:
        return parts.port != 0
    except ValueError:
        return False
