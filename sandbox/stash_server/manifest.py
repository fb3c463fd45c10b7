"""A plugin's manifest, read as strictly as Stash reads it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

_PYTHONS = ("python", "python3")


class ManifestError(Exception):
    """Stash would not load this plugin. The message names the file and every fault."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        """Return a key without a value is a key that is not there."""
        return (
            {key: one for key, one in value.items() if one is not None}
            if isinstance(value, dict)
            else value
        )


class Task(_Part):
    """One button on the Tasks page. Default arguments are always strings."""

    name: str = ""
    description: str = ""
    exec_args: list[str] = Field(default_factory=list, alias="execArgs")
    default_args: dict[str, str] = Field(default_factory=dict, alias="defaultArgs")


class Hook(Task):
    """One reaction to a change. The sandbox reads hooks but does not run them."""

    triggered_by: list[str] = Field(default_factory=list, alias="triggeredBy")


class Setting(_Part):
    """One field of the plugin's settings page."""

    type: Literal["STRING", "NUMBER", "BOOLEAN"] = "STRING"
    display_name: str = Field(default="", alias="displayName")
    description: str = ""


class _Policy(_Part):
    script: list[str] = Field(default_factory=list, alias="script-src")
    style: list[str] = Field(default_factory=list, alias="style-src")
    connect: list[str] = Field(default_factory=list, alias="connect-src")


class Interface(_Part):
    """Additions of the plugin to the pages of Stash."""

    requires: list[str] = Field(default_factory=list)
    csp: _Policy = Field(default_factory=_Policy)
    javascript: list[str] = Field(default_factory=list)
    css: list[str] = Field(default_factory=list)
    assets: dict[str, str] = Field(default_factory=dict)


class Manifest(_Part):
    """The whole manifest; unknown keys are refused.

    ``exec`` is the command, its first word the program.
    """

    name: str = ""
    description: str | None = None
    url: str | None = None
    version: str | None = None
    interface: Literal["raw", "rpc", "js"] = "raw"
    exec: list[str] = Field(default_factory=list)
    error_level: str = Field(default="error", alias="errLog")
    tasks: list[Task] = Field(default_factory=list)
    hooks: list[Hook] = Field(default_factory=list)
    ui: Interface = Field(default_factory=Interface)
    settings: dict[str, Setting] = Field(default_factory=dict)

    @field_validator("settings", mode="before")
    @classmethod
    def _bare_settings(cls, value: Any) -> Any:
        return {key: one or {} for key, one in value.items()} if isinstance(value, dict) else value


class Plugin:
    """A manifest with its place: ``id`` is the file's name, ``folder`` where it lies."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.id = path.stem
        self.folder = path.parent
        self.manifest = manifest
        self.name = manifest.name or self.id

    def task(self, name: str) -> Task | None:
        """Return the task of that name, or None."""
        return next((task for task in self.manifest.tasks if task.name == name), None)

    def command(self, task: Task | None, python: str) -> list[str]:
        """Return the command line of a task (None: of the plugin as such), with ``python`` for
        "python" and "python3".
        """
        words = [*self.manifest.exec, *(task.exec_args if task else ())]
        if not words:
            return []
        program, *arguments = words
        if program in _PYTHONS:
            program = python
        elif shutil.which(program) is None:
            program = str(self.folder / program)
        return [program, *(word.replace("{pluginDir}", str(self.folder)) for word in arguments)]

    @property
    def is_python(self) -> bool:
        """True if Stash runs it with its Python, with the plugins' folder on PYTHONPATH."""
        return self.manifest.exec[:1] in ([_PYTHONS[0]], [_PYTHONS[1]])


def load(folder: Path) -> Plugin:
    """Read the one manifest in a plugin's folder.

    ``ManifestError``: it is faulty, or there is not exactly one ``.yml`` in or below the folder;
    Stash takes every such file for a plugin.
    """
    paths = sorted(folder.resolve().rglob("*.yml"))
    if len(paths) != 1:
        found = ", ".join(str(path.relative_to(folder.resolve())) for path in paths) or "none"
        raise ManifestError(f"{folder}: a plugin has exactly one .yml file; found: {found}")
    try:
        data = yaml.load(paths[0].read_text(encoding="utf-8"), _Loader)
        return Plugin(paths[0], Manifest.model_validate(data or {}))
    except yaml.YAMLError as error:
        raise ManifestError(f"{paths[0]}: {error}") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        raise ManifestError(f"{paths[0]}: {faults}") from error


class _Loader(yaml.BaseLoader):
    """Read every scalar but null as the text that it was written as, as Stash does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} already set", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _null(loader: _Loader, node: yaml.Node) -> None:
    return None


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)
_Loader.add_constructor("tag:yaml.org,2002:null", _null)
