"""Everything set, from all layers, as one frozen object."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from haven.settings import layers
from haven.settings.layers import Layer, on_the_page, read
from haven.settings.merge import CONTROL_TAGS, Merged, is_constant, merge, tags_of
from haven.settings.overlay import overlay_layer
from haven.settings.stash_tags import ReadTree, names_seen, remember_names
from haven.settings.table import ENGINE, EXAMPLE_TAGS, Options
from vlm_engine import (
    ConfigError,
    EndpointConfig,
    EngineConfig,
    ModelConfig,
    WordingConfig,
    parse,
)

_log = logging.getLogger(__name__)
_OF_REPORTS = ("REPORT_FOLDER", "REPORTS_KEPT")


@dataclass(frozen=True, slots=True)
class TagNames:
    """The names of the control tags in Stash, which tell the plugin what to do and say what it
    did.
    """

    parent: str = "VLM"
    tag_me: str = "VLM_TagMe"
    update_me: str = "VLM_UpdateMe"
    tagged: str = "VLM_Tagged"
    errored: str = "VLM_Errored"

    def all(self) -> tuple[str, ...]:
        """Return the five names."""
        return self.parent, self.tag_me, self.update_me, self.tagged, self.errored


class Settings(Options):
    """All settings, parsed and frozen: the plugin's own (``Options``), and the engine's
    configuration.
    """

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    engine: EngineConfig
    """The engine's configuration: a whole one if the user has one, else made from the single
    settings."""

    origins: Mapping[str, str] = Field(repr=False)
    """Place of each setting, by its name, such as `Tags on the settings page`."""

    ids_in_stash: Mapping[str, str] = Field(default_factory=dict, repr=False)
    """The id in Stash of each tag of `STASH_TAGS`, by its name in the tag list."""

    @classmethod
    def load(
        cls,
        stash_page: Mapping[str, Any] | None = None,
        task_args: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        data_dir: Path | None = None,
        read_tree: ReadTree | None = None,
    ) -> Settings:
        """Return the settings of all layers: the constants < the local file < the overlay <
        Stash's page < the task's arguments.

        ``stash_page``: what Stash stores for the plugin. 0, "" and False there mean "not set".
        ``task_args``: text by the settings' names. "" means "not set". ``mode`` is left out.
        ``folder``: where the local file is. By default it is beside ``haven_vlm_config.py``.
        ``data_dir``: the plugin's data folder, where the overlay is. None: there is no overlay.
        ``read_tree``: returns Stash's tags, for ``STASH_TAGS``. None: Stash is not asked.

        Raise ``ConfigError`` that lists the faults of all layers, each with its layer and key.
        """
        faults: list[str] = []
        local = [layers.file_layer(folder, faults), overlay_layer(data_dir, faults)]
        given = _layers(local, stash_page, task_args)
        merged = merge([(layer, read(layer, faults)) for layer in given])
        if faults:
            raise ConfigError("\n".join(faults))
        _choose_tags(merged, read_tree, data_dir)
        settings = cls._of(merged)
        for warning in merged.chosen.warnings:
            _log.warning("%s: %s.", merged.origins["STASH_TAGS"], warning)
        for note in merged.chosen.notes:
            _log.info("%s: %s.", merged.origins["STASH_TAGS"], note)
        if faults := _contradictions(settings, merged, knows_tags=read_tree is not None):
            raise ConfigError("\n".join(faults))
        merged.warn_of_unused(settings.tag_list)
        return settings

    @classmethod
    def with_faults(
        cls,
        stash_page: Mapping[str, Any],
        data_dir: Path,
        overlay: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        read_tree: ReadTree | None = None,
    ) -> tuple[Merged, tuple[str, ...]]:
        """Return all layers without a task's arguments as one, and every fault in them.

        A value that is wrong counts as not set. ``overlay``: settings in place of those in the
        overlay's file. ``read_tree``: as for ``load``.
        """
        faults: list[str] = []
        local = [layers.file_layer(folder, faults), overlay_layer(data_dir, faults, overlay)]
        given = _layers(local, stash_page, None)
        merged = merge([(layer, read(layer, faults)) for layer in given])
        _choose_tags(merged, read_tree, data_dir)
        settings, knows_tags = cls._of(merged), read_tree is not None
        return merged, (*faults, *_contradictions(settings, merged, knows_tags=knows_tags))

    @classmethod
    def load_for_undo(
        cls,
        stash_page: Mapping[str, Any] | None = None,
        task_args: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        data_dir: Path | None = None,
    ) -> Settings:
        """Return the settings for a task that looks at no media: only tag names and where reports
        go count.

        Other faults do not stop the task, nor do files that cannot be read, or a wrong place
        for reports. Raise ``ConfigError`` if the name of a control tag is wrong.
        """
        faults: list[str] = []
        ignored: list[str] = []
        local = [layers.file_layer(folder, ignored), overlay_layer(data_dir, ignored)]
        constants, *others = _layers(local, stash_page, task_args)
        parsed = [(constants, read(constants, faults))]
        for layer in others:
            parsed.append((layer, read(layer.only(CONTROL_TAGS), faults)))
            parsed.append((layer, read(layer.only(_OF_REPORTS), ignored)))
        if faults:
            raise ConfigError("\n".join(faults))
        if ignored:
            _log.warning(
                "This task goes on without what is wrong in the settings:\n%s", "\n".join(ignored)
            )
        return cls._of(merge(parsed))

    @classmethod
    def _of(cls, merged: Merged) -> Settings:
        options = {name: merged.values[name] for name in map(str.upper, Options.model_fields)}
        ids = {one.name: one.tag.id for one in merged.chosen.tags if one.tag.id}
        return cls(engine=merged.engine(), origins=merged.origins, ids_in_stash=ids, **options)

    @property
    def tag_names(self) -> TagNames:
        """The names of the control tags."""
        return TagNames(*(getattr(self, name.lower()) for name in CONTROL_TAGS))

    @property
    def tag_list(self) -> tuple[str, ...]:
        """Every tag that is looked for."""
        return tags_of(self.engine)

    @property
    def tags_are_an_example(self) -> bool:
        """True if nobody has set tags: they are the example in ``haven_vlm_config.py``."""
        is_set = self.stash_tags or not is_constant(self.origins["TAG_LIST"])
        return not is_set and self.tag_list == EXAMPLE_TAGS

    @property
    def place_of_tags(self) -> str:
        """The places where the tags that are looked for were set, for messages."""
        names = ("TAG_LIST", "STASH_TAGS") if self.stash_tags else ("TAG_LIST",)
        places = [self.origins[name] for name in names]
        is_mixed = not is_constant(places[0])
        return " and ".join(places if is_mixed or len(places) == 1 else places[1:])

    @property
    def scene_limit(self) -> int | None:
        """The number of scenes to tag at once, if the user has set it."""
        is_set = not is_constant(self.origins["CONCURRENT_TASK_LIMIT"])
        return self.concurrent_task_limit if is_set else None

    def scenes_at_once(self, places: int | None) -> int:
        """Return the number of scenes to tag at once: what the user set; with a cluster, what it
        takes, up to a limit that is set.

        ``places``: what the cluster takes; None without one, and while that is not known.
        """
        if places is None:
            return self.concurrent_task_limit
        return max(1, min(places, self.scene_limit or places))

    def fingerprint(self) -> str:
        """Return a short text that differs if the settings differ. It reveals no keys."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    def secrets(self) -> tuple[str, ...]:
        """Return every API key, so that it can be kept out of logs."""
        return tuple({one.key() for one in self._keyed_here()} - {""})

    def _keyed_here(self) -> Iterator[EndpointConfig]:
        """Yield the endpoints whose keys this machine has: a worker's may be on that alone."""
        for model in self.engine.models.values():
            for one in model.every_endpoint():
                if not (one.worker and one.api_key_env and one.api_key_env not in os.environ):
                    yield one


def names_in_stash(settings: Settings) -> dict[str, str]:
    """Return what each tag that is looked for is called in Stash, by its name in the tag list."""
    names: dict[str, str] = {}
    for model in settings.engine.active_models().values():
        rule_of = settings.engine.rule_of(model.category)
        names |= {tag: rule_of(tag).renamed or tag for tag in model.tag_list}
    return names


def ids_in_stash(settings: Settings) -> dict[str, str]:
    """Return the ids of the tags that were chosen from Stash's tree, by their names in Stash."""
    names = names_in_stash(settings)
    return {names[tag]: one for tag, one in settings.ids_in_stash.items() if tag in names}


def _layers(
    local: Iterable[Layer],
    stash_page: Mapping[str, Any] | None,
    task_args: Mapping[str, Any] | None,
) -> list[Layer]:
    return [
        layers.constants_layer(),
        *local,
        layers.page_layer(stash_page or {}),
        layers.task_layer(task_args or {}),
    ]


def _choose_tags(merged: Merged, read_tree: ReadTree | None, data_dir: Path | None) -> None:
    merged.choose_tags(read_tree, names_seen(data_dir))
    if read_tree is not None:
        remember_names(data_dir, merged.chosen)


def _contradictions(settings: Settings, merged: Merged, *, knows_tags: bool = False) -> list[str]:
    """Return what is wrong only when all layers are seen together."""
    return list(dict.fromkeys(_each_contradiction(settings, merged, knows_tags=knows_tags)))


def _each_contradiction(settings: Settings, merged: Merged, *, knows_tags: bool) -> Iterator[str]:
    origins = settings.origins
    models = settings.engine.active_models().values()
    if not models:
        where = origins["VLM_ENGINE_CONFIG"]
        yield (
            f"{where}.models: there is none to ask; write one of type vlm_model, or no "
            "VLM_ENGINE_CONFIG"
        )
    if not merged.values["ENDPOINTS"]:
        yield (
            f"{origins['ENDPOINTS']}: there is none; name a server, for example "
            "http://localhost:1234/v1"
        )
    has_tags = merged.values["TAG_LIST"] or merged.chosen.tags
    if not has_tags and merged.values["STASH_TAGS"]:
        if knows_tags:
            why = "; ".join((*merged.chosen.warnings, *merged.chosen.notes))
            yield (
                f"{origins['STASH_TAGS']}: no tag in Stash is left to look for; "
                f"{why or 'there is none below those that are chosen'}"
            )
    elif not has_tags:
        yield (
            f"{origins['TAG_LIST']}: there are no tags; say what to look for, in "
            f"{on_the_page('TAG_LIST')}"
        )
    for endpoint in dict.fromkeys(settings._keyed_here()):
        try:
            endpoint.key()
        except ConfigError as error:
            yield (
                f"{origins['ENDPOINTS']}: {error}; set it where Stash is started, or write the "
                "key as api_key"
            )
    for model in models:
        yield from _wording_faults(model, origins)
    yield from _name_faults(settings, merged)


def _wording_faults(model: ModelConfig, origins: Mapping[str, str]) -> Iterator[str]:
    """Yield faults in the words of a question as a whole, each with the place of its setting."""
    places = {
        row.engine: origins.get(row.name, row.name)
        for row in ENGINE
        if row.engine.startswith("model.")
    }
    try:
        parse(
            WordingConfig, {name: getattr(model, name) for name in WordingConfig.model_fields}, ""
        )
    except ConfigError as error:
        for line in str(error).splitlines():
            field, _, fault = line.partition(": ")
            yield f"{places.get(f'model.{field}', field)}: {fault}"


def _name_faults(settings: Settings, merged: Merged) -> Iterator[str]:
    """Yield each tag that would have the name of a control tag, with its settings. Case makes no
    difference.
    """
    owners: dict[str, str] = {}
    named = list(zip(CONTROL_TAGS, settings.tag_names.all(), strict=True))
    for setting, name in named:
        owners.setdefault(name.casefold(), setting)
    for setting, name in [*named, *_each_name_in_stash(settings, merged)]:
        owner = owners.get(name.casefold(), setting)
        if owner != setting:
            key, dot, below = setting.partition(".")
            yield (
                f"{settings.origins.get(key, key)}{dot}{below}: {name!r} is the name that {owner} "
                "has, too; the tags that"
                " steer the plugin need names that nothing else has (case makes no difference)"
            )


def _each_name_in_stash(settings: Settings, merged: Merged) -> Iterator[tuple[str, str]]:
    """Yield the name of every tag that may be found, with the setting that says so."""
    for tag in settings.tag_list:
        yield "STASH_TAGS" if tag in settings.ids_in_stash else "TAG_LIST", tag
    rules = {"VLM_ENGINE_CONFIG": {"default_rule": settings.engine.default_rule}}
    for model in settings.engine.active_models().values():
        in_whole = merged.whole is not None and "TAG_RULES" not in merged.above
        place = f"VLM_ENGINE_CONFIG.category_config.{model.category}" if in_whole else "TAG_RULES"
        rules[place] = dict(settings.engine.category_config[model.category])
    for place, of_tags in rules.items():
        for tag, rule in of_tags.items():
            if rule.renamed is not None:
                yield f"{place}.{tag}.RenamedTag", rule.renamed
