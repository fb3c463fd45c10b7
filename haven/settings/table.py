"""The plugin's settings: one row each. ``make docs`` writes ``haven_vlm_config.py`` and the pages
from them.

``ENGINE`` has the settings that the engine has too: the name, the engine's name for it, and a text
if the engine's own does not suit. ``Options`` has what the plugin itself does: a field's name in
capitals is the setting's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, RootModel, field_validator

from haven.settings.stash_tags import TagChoice
from vlm_engine import (
    EngineConfig,
    SettingsGroup,
    TagRule,
    addresses_in,
    check_once,
    clean_descriptions,
    clean_name,
    clean_synonyms,
    clean_tags,
    default_of,
    description_of,
    folders_in,
    key_in,
    parse,
    parse_setting,
    parse_yaml,
    setting_field,
)

Parse: TypeAlias = Callable[[Any, str], Any]
"""Take what a user wrote, and the setting's name. Raise ``ConfigError`` that begins with the
name, or ``ValueError``."""
TagName: TypeAlias = Annotated[str, Field(max_length=200), AfterValidator(clean_name)]
EXAMPLE_TAGS = ("Basketball point", "Foul", "Break-away", "Turnover")


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting. ``default`` is written as a user writes it.

    ``engine``: the engine's name for it, such as ``search.effort``; "" if ``haven.settings.merge``
    places it by hand. ``own_text``: "" if it is described where it is declared.
    """

    name: str
    engine: str
    own_text: str
    default: Any
    parse: Parse

    @property
    def text(self) -> str:
        """The text that tells users what it does."""
        if self.own_text:
            return self.own_text
        if self.engine:
            return description_of(self.engine)
        return " ".join(Options.descriptions()[self.name.lower()].split())


def _of_engine(
    name: str, engine: str, text: str = "", default: Any = None, parse: Parse | None = None
) -> Setting:
    """Return the row of a setting of the engine, with the engine's default and text if none is
    given.
    """
    if engine:
        field = setting_field(engine)
        if default is None:
            default = default_of(engine)
        if default is None:  # left open: a user writes 0, or "" where text is wanted
            default = "" if "str" in str(field.annotation) else 0
    return Setting(
        name,
        engine,
        text,
        default,
        parse or (lambda value, where: parse_setting(engine, value, where)),
    )


def _endpoints(value: Any, where: str) -> Any:
    entries = addresses_in(value) if isinstance(value, str) else value
    if not isinstance(entries, list | tuple):
        raise ValueError("write a list of endpoints, each with its base_url")
    entries = [{"base_url": entry} if isinstance(entry, str) else entry for entry in entries]
    return parse_setting("model.multiplexer_endpoints", entries, where)


def _cluster(value: Any, where: str) -> Any:
    if isinstance(value, str) and value.strip().startswith("{"):  # one line of text
        value = parse_yaml(value)
    is_off = value is None or value == {} or (isinstance(value, str) and not value.strip())
    return None if is_off else parse_setting("engine.cluster", value, where)


def _key(value: Any, where: str) -> Any:
    return parse_setting("model.api_key", key_in(value) if isinstance(value, str) else value, where)


def _model(value: Any, where: str) -> str:
    name: str = parse_setting("model.model_id", value, where).strip()
    if re.search(r"[,;\n\r]", name):
        raise ValueError(
            f"{name!r} is more than one name; write the model's name, and in ENDPOINTS one for "
            "each server"
        )
    return name


def _descriptions(value: Any) -> dict[str, str]:
    """Return descriptions of tags, with the empty ones: they say that the name alone is enough."""
    cleaned = clean_descriptions(value)
    return {**{" ".join(tag.split()): "" for tag in value}, **cleaned}


def _default_rule(value: Any, where: str) -> TagRule:
    rule = parse(TagRule, value, where)
    if rule.renamed:
        raise ValueError("RenamedTag would give every tag one name; write it under TAG_RULES")
    if "threshold" in rule.model_fields_set:
        raise ValueError("TagThreshold for every tag is VIDEO_THRESHOLD; here it has no place")
    return rule


def _rules(value: Any, where: str) -> Mapping[str, TagRule]:
    rules = parse(RootModel[Mapping[str, TagRule]], value, where).root
    check_once(" ".join(tag.split()) for tag in rules)
    return rules


ENGINE = (
    _of_engine(
        "ENDPOINTS",
        "",
        "The servers that answer; any that speaks the OpenAI protocol will do. Only base_url is "
        "needed; docs/settings.md"
        " lists the other keys, such as max_concurrent, is_fallback and api_key_env.",
        [{"base_url": "http://localhost:1234/v1", "name": "LM Studio"}],
        _endpoints,
    ),
    _of_engine(
        "API_KEY",
        "",
        "The key for the endpoints that have no key of their own. To read a key from the "
        "environment, write"
        ' "api_key_env": "MY_KEY" at the endpoint instead.',
        "",
        _key,
    ),
    _of_engine(
        "MODEL",
        "model.model_id",
        "The name of the vision model, as the server knows it. Empty: the model that the server "
        "has loaded.",
        parse=_model,
    ),
    _of_engine("REQUEST_TIMEOUT", "model.request_timeout", "Seconds to wait for one answer."),
    _of_engine(
        "ENDPOINT_PATIENCE",
        "model.endpoint_patience",
        "Seconds to wait for an endpoint to come back when none works. Then the task ends, and "
        "what is not done stays queued.",
    ),
    _of_engine(
        "CHECK_ENDPOINTS",
        "engine.check_endpoints",
        "Ask each endpoint about two test pictures before its first question of a run. One whose "
        "answers do not depend on the picture, or are about another picture, gets none. A good "
        "result counts for a day.",
        True,
    ),
    _of_engine(
        "FALLBACK_WAIT",
        "model.fallback_wait",
        "Fallback endpoints also help when a question would wait longer than this many seconds "
        "for the others."
        " 0: only when no other endpoint works.",
    ),
    _of_engine(
        "CLUSTER",
        "engine.cluster",
        "The Dask cluster whose workers look at videos and images: the address of its scheduler, "
        "such as tcp://nas:8786; local:4 starts four workers on this machine for each run. Where "
        "workers have folders under other paths than this machine, or the connection is "
        'encrypted, write {"address": "tcp://nas:8786", "paths": {"*": {"/data": "/mnt/data"}}}; '
        "docs/cluster.md lists the other keys. Empty: this machine looks.",
        "",
        _cluster,
    ),
    _of_engine(
        "TAG_LIST",
        "model.tag_list",
        "What to look for: short names of what a single picture can show. To tell the model what "
        'a tag means, write {"Foul":'
        ' "a player is fouled; the referee signals"} in place of "Foul".',
        EXAMPLE_TAGS,
        lambda value, _: clean_tags(value),
    ),
    _of_engine(
        "TAG_DESCRIPTIONS",
        "model.tag_descriptions",
        "What tags mean, for tags that are named elsewhere, such as on Stash's settings page: "
        '{"Foul": "a player is'
        ' fouled"}. When you change a description, only questions about that tag are asked again. '
        'Empty, as in {"Foul": ""}: the model is told the name alone, whatever Stash says.',
        parse=lambda value, _: _descriptions(value),
    ),
    _of_engine(
        "TAG_SYNONYMS",
        "model.synonyms",
        'Other names that the model may use for a tag in its answer: {"Foul": ["personal foul"]}. '
        "The model is not told them.",
        parse=lambda value, _: clean_synonyms(value),
    ),
    _of_engine(
        "PROMPT",
        "model.prompt",
        'The first sentence of a question, such as "These are frames of a basketball match." '
        "Empty: the built-in sentence."
        " After a change of this setting, or of the next three, everything is asked again.",
    ),
    _of_engine(
        "SYSTEM_PROMPT",
        "model.system_prompt",
        "The whole text before the picture, if you want other words than the built-in ones. "
        "{tags} stands for the list of"
        " tags; docs/prompts.md lists the other fields.",
    ),
    _of_engine(
        "USER_PROMPT",
        "model.user_prompt",
        "The line after the picture, with the same fields. Empty: {special_tokens} {question}.",
    ),
    _of_engine(
        "SPECIAL_TOKENS",
        "model.special_tokens",
        "Words for the model itself at the start of the line after the picture, such as /no_think.",
    ),
    _of_engine(
        "VIDEO_FRAME_INTERVAL",
        "search.frame_interval_s",
        "The longest time between two frames of the first scan, in seconds. 0: the search chooses.",
    ),
    _of_engine(
        "VIDEO_SHORTEST_EVENT",
        "search.shortest_event_s",
        "The shortest event that must be found, in seconds. Shorter events need more questions. "
        "0: the search chooses.",
    ),
    _of_engine(
        "VIDEO_SEARCH_EFFORT",
        "search.effort",
        "How hard to search: 2 takes a quarter more of the model's time than 1, and 0.5 a sixth "
        "less.",
    ),
    _of_engine(
        "VIDEO_QUESTIONS_PER_HOUR",
        "search.questions_per_hour",
        "The most questions to ask for an hour of video. They are asked where the answer is least "
        "certain. 0: no limit.",
    ),
    _of_engine(
        "VIDEO_SECONDS_PER_HOUR",
        "search.seconds_per_hour",
        "The most seconds of the model's time to spend on an hour of video, by what questions to "
        "the endpoints have cost so far. 0: no limit.",
    ),
    _of_engine("VIDEO_LEARN_COSTS", "search.learn_costs"),
    _of_engine(
        "VIDEO_EDGE_TOLERANCE",
        "search.edge_tolerance_s",
        "How exact the ends of markers should be, in seconds. An end that is probably closer than "
        "this is not refined.",
    ),
    _of_engine(
        "VIDEO_THRESHOLD",
        "default_rule.threshold",
        "How sure a tag must be, from 0 to 1, in videos and in images. The TagThreshold of a rule "
        "overrides it.",
    ),
    _of_engine(
        "DEFAULT_TAG_RULE",
        "engine.default_rule",
        "How sightings of a tag become markers. Sightings no further apart than MaxGap are "
        "joined, markers shorter than"
        " MinMarkerDuration are dropped, and the scene gets the tag when the rest lasts "
        "RequiredDuration in all. Write 12,"
        ' "12s", or "5%" of the video.',
        {"MinMarkerDuration": "1s", "MaxGap": "1s", "RequiredDuration": "1s"},
        _default_rule,
    ),
    _of_engine(
        "TAG_RULES",
        "",
        "Other rules for single tags: the same keys, TagThreshold, and RenamedTag for the tag's "
        "name in Stash."
        ' {"Foul": {"RenamedTag": "Personal foul", "TagThreshold": 0.7}}',
        {},
        _rules,
    ),
    _of_engine(
        "IMAGE_MAX_SIDE",
        "model.image_max_side",
        "The longest side of the pictures that are sent, in pixels.",
    ),
    _of_engine(
        "SCAN_IMAGE_MAX_SIDE",
        "model.scan_max_side",
        "The longest side of frames of videos that are sent small, in pixels. 512 costs a quarter "
        "of 1024.",
    ),
    _of_engine("FRAME_SIZE", "model.frame_size"),
    _of_engine("ANSWER_FORM", "model.answer_form"),
    _of_engine("FRAMES_COMPARED", "model.frames_compared"),
    _of_engine(
        "SCAN_FRAMES_PER_QUESTION",
        "model.frames_per_question",
        "How many frames the first scan puts into one question: 4 needs a quarter of the "
        "questions. Some models cannot tell"
        " several pictures apart, so try it on your own videos. A server that takes only one "
        "picture gets one.",
    ),
    _of_engine(
        "IMAGE_FRAMES",
        "image.frames",
        "How many moments of a moving image (such as a GIF) or a clip to look at: one question "
        "each.",
    ),
    _of_engine(
        "IMAGE_PARTS",
        "image.parts",
        "Look at a large image (a panorama, a page) also in up to this many parts, at most 16: "
        "one question each."
        " 0: only as a whole.",
    ),
    _of_engine(
        "VIDEO_DECODING_DEVICE",
        "video.hwaccel",
        'What decodes videos: "" for the processor, or "cuda", "vaapi", "videotoolbox", "d3d11va" '
        'or "qsv" for a graphics'
        " card in Stash's machine. The processor decodes what the card cannot.",
    ),
    _of_engine(
        "VIDEO_STALL_TIMEOUT",
        "video.stall_s",
        "Seconds to wait for a disk or network share that delivers nothing more of a file. Then "
        "that file fails.",
    ),
    _of_engine(
        "VR_LAYOUT",
        "video.vr_layout",
        "How the frames of VR scenes are laid out: scenes with the tag that is set for VR in "
        "Stash (Settings > Interface)."
        ' Only the view straight ahead of one eye is sent. "auto": as the file\'s name '
        "(Final_LR_180.mp4) or shape says."
        ' Otherwise the place of the eyes and what each shows: "sbs-180", "tb-360", "mono-180", '
        '"sbs-fisheye190",'
        ' "sbs-flat" … "off": like any other scene.',
    ),
    _of_engine(
        "STORE_MAX_MB",
        "engine.store_max_mb",
        "The most megabytes of answers to keep, at least 10. Above that, answers about the videos "
        "not used for longest are"
        " removed. 2000 MB are about two million answers. 0: no limit.",
    ),
)
"""The settings of the engine, in the order of the files."""


class Options(SettingsGroup):
    """The plugin's own settings. Each field is one; the text below it is for users."""

    model_config = ConfigDict(alias_generator=str.upper)
    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    stash_tags: tuple[TagChoice, ...] = ()
    """What to look for, from Stash's own tree of tags, besides TAG_LIST: names of tags, or entries
    with id and name; "below": true for everything below a tag, "leave_out": true for what not to
    look for. Descriptions and aliases come from Stash, and a renamed tag is followed. The plugin's
    page writes this. [{"name": "Game", "below": true}, "Foul"]"""

    respect_ignore_auto_tag: bool = False
    """True: leave out those of STASH_TAGS that have Ignore auto tag in Stash."""

    concurrent_task_limit: int = Field(2, ge=1, le=64)
    """Number of scenes to tag at once. Images: always as many as the endpoints take. With
    CLUSTER: the most scenes at once, if it is set; otherwise as many as the cluster takes."""

    time_slice: float = Field(0, ge=0, le=100_000)
    """Stash runs one job at a time. After this many minutes a task lets the waiting jobs run
    first: it queues itself again behind them and goes on there. 0: never."""

    create_markers: bool = True
    """False: only tag the scenes, make no markers."""

    marker_previews: bool = False
    """True: when a run ends well, Stash makes previews of its new markers, in a job of its own:
    short videos, and with later versions of Stash still and moving pictures too."""

    run_in_custom_field: bool = False
    """True: each scene and image that a run changes gets the run's number in the custom field
    haven_vlm, which Stash shows and can filter by. Stash 0.31 or later has custom fields."""

    image_galleries: bool = True
    """Tag Images also takes all images of the galleries that carry the tag VLM_TagMe. A gallery
    loses that tag when all its images are done."""

    gallery_tag_share: float = Field(0, ge=0, le=1)
    """A queued gallery gets the tags that at least this share of its images has, from 0 to 1. 0:
    none."""

    image_from_stash: bool = True
    """Ask Stash for images whose files cannot be read here, and for thumbnails of kinds of
    images that cannot be read at all. False: these images fail, and the log says why."""

    vlm_base_tag_name: TagName = "VLM"
    """The name in Stash of the parent tag of all tags that the plugin makes. It also marks the
    plugin's markers."""

    vlm_tagme_tag_name: TagName = "VLM_TagMe"
    """The tag for scenes, images and galleries that Tag Videos and Tag Images shall tag."""

    vlm_updateme_tag_name: TagName = "VLM_UpdateMe"
    """The tag for those that Update Tagged Videos and Update Tagged Images shall tag again."""

    vlm_tagged_tag_name: TagName = "VLM_Tagged"
    """The tag that the plugin gives to those that are done."""

    vlm_errored_tag_name: TagName = "VLM_Errored"
    """The tag that the plugin gives to those that failed."""

    path_mutation: tuple[tuple[str, str], ...] = ()
    r"""Folders that this machine has under other paths than Stash: pairs of a folder of
    Stash's and the same folder here. The longest folder that fits counts. Write {"/data/sport":
    "/mnt/nas/sport", "D:\\media": "/mnt/d/media"}, or one line of text: "/data/sport =>
    /mnt/nas/sport; D:\\media => /mnt/d/media"."""

    stream_from_stash: bool = False
    """True: read a video through Stash, over the network, if its file cannot be read here. That
    may transfer most of the video, so set PATH_MUTATION instead where you can."""

    report_folder: Path = Path("reports")
    """The folder for the report of each run: in the plugin's data folder, or anywhere by its
    whole path."""

    reports_kept: int = Field(100, ge=0)
    """Number of reports to keep. The oldest are removed first. 0: all."""

    @field_validator("report_folder", mode="before")
    @classmethod
    def _some_folder(cls, folder: Any) -> Any:
        if isinstance(folder, str) and (not folder.strip() or "\0" in folder):
            raise ValueError("name a folder, like reports or /data/reports")
        return folder.strip() if isinstance(folder, str) else folder

    @field_validator("path_mutation", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = folders_in(value)
        pairs = value.items() if isinstance(value, Mapping) else value
        if not isinstance(pairs, Iterable) or not all(
            isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
        ):
            raise ValueError(
                "write each folder of Stash's and where it is here, like /data: /mnt/nas"
            )
        return tuple(_pair(there, here) for there, here in pairs)


def _pair(there: Any, here: Any) -> tuple[str, str]:
    if not isinstance(there, str) or not isinstance(here, str):
        raise ValueError(
            f"{there!r}: {here!r} is no pair of folders; write both as text, like /data: /mnt/nas"
        )
    pair = there.strip(), here.strip()
    for path in pair:
        if not re.match(r"/|\\\\|[A-Za-z]:([\\/]|$)", path):
            raise ValueError(
                f"{path!r} is no whole path; it begins with a slash or a drive, like /data or "
                "D:\\media"
            )
    return pair


_AS_WRITTEN: Mapping[str, Any] = {"path_mutation": {}, "stash_tags": []}
"""Defaults that a user writes in another form than they have."""


def _of_plugin(field: str) -> Setting:
    def parsed(value: Any, where: str) -> Any:
        return getattr(parse(Options, {where: value}, ""), field)

    default = _AS_WRITTEN.get(field, Options.model_fields[field].default)
    return Setting(field.upper(), "", "", default, parsed)


_WHOLE = Setting(
    "VLM_ENGINE_CONFIG",
    "",
    "A whole configuration of the engine, as other versions of this plugin had it here. Its "
    "endpoints, models, tags and"
    " rules replace the settings above.",
    None,
    lambda value, where: parse(EngineConfig, value, where),
)
SETTINGS: Mapping[str, Setting] = {
    setting.name: setting for setting in (*ENGINE, *map(_of_plugin, Options.model_fields), _WHOLE)
}
"""Every setting by its name, in the order of the files."""
