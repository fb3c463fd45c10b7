"""The words of a question: the tags, their descriptions, and the text around them."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from vlm_engine.config import templates
from vlm_engine.config.base import IN_QUOTES, SettingsGroup
from vlm_engine.names import tag_key

_LONGEST_DESCRIPTION = 1000


class WordingConfig(SettingsGroup):
    """The words of a question. What is said about one tag (its description) concerns the answers
    about that tag only. A change of anything else makes every question be asked again.
    """

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    tag_list: tuple[str, ...] = ()
    """Tags to look for: short names of what a single picture can show, each once, of at most 200
    characters. Also a mapping from each name to its description, or a list in which some are
    written so: `[Turnover, {Foul: "a player is fouled"}]`."""

    tag_descriptions: Mapping[str, str] = Field(default_factory=dict)
    """Descriptions of tags, which the model reads: `{"Foul": "a player is fouled; the referee
    signals"}`. After a change, only questions about that tag are asked again."""

    synonyms: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """Other names that the model may use for a tag in its answer: `{"Foul": ["personal foul"]}`.
    The model is not told them."""

    prompt: str = Field("", max_length=20_000)
    """The first sentence of the question. Empty: the built-in sentence."""

    system_prompt: str = Field("", max_length=20_000)
    """The whole text before the picture, as a template with fields such as `{tags}` ([all
    fields](prompts.md)). `{{` stands for a brace. Empty: the built-in text."""

    user_prompt: str = Field("", max_length=20_000)
    """The line after the picture, as a template. Empty: the built-in line."""

    special_tokens: str = Field("", max_length=20_000)
    """Words for the model itself, such as `/no_think`, at the start of the line after the
    picture."""

    @model_validator(mode="before")
    @classmethod
    def _descriptions_in_the_list(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or "tag_list" not in data:
            return data
        names, descriptions = split_tags(data["tag_list"])
        if not descriptions:
            return {**data, "tag_list": names}
        return {
            **data,
            "tag_list": names,
            "tag_descriptions": described_apart(descriptions, data.get("tag_descriptions")),
        }

    @field_validator("tag_list", mode="before")
    @classmethod
    def _clean_tags(cls, tags: Any) -> Any:
        return () if tags is None else clean_tags(tags)

    @field_validator("tag_descriptions", mode="before")
    @classmethod
    def _clean_descriptions(cls, described: Any, info: ValidationInfo) -> Any:
        return (
            {}
            if described is None
            else of_tags(clean_descriptions(described), info.data.get("tag_list", ()))
        )

    @field_validator("synonyms", mode="before")
    @classmethod
    def _clean_synonyms(cls, synonyms: Any, info: ValidationInfo) -> Any:
        tags = info.data.get("tag_list", ())
        return {} if synonyms is None else of_tags(clean_synonyms(synonyms, tags), tags)

    @field_validator("system_prompt", "user_prompt")
    @classmethod
    def _known_fields(cls, template: str) -> str:
        templates.template_fields(template)
        return template

    @model_validator(mode="after")
    def _nothing_is_left_out(self) -> Self:
        system, user = (
            templates.template_fields(self.system_template),
            templates.template_fields(self.user_template),
        )
        if "tags" not in system | user:
            raise ValueError(
                "system_prompt: {tags} is missing, so the model would not know what to look for"
            )
        for name, field in (("prompt", "opening"), ("special_tokens", "special_tokens")):
            if getattr(self, name).strip() and field not in system | user:
                raise ValueError(
                    f"{name}: nothing is made of it, because neither system_prompt nor "
                    f"user_prompt has {{{field}}}"
                )
        return self

    def about(self, tags: Iterable[str]) -> dict[str, Any]:
        """Return the changes that make it look for ``tags`` instead. Descriptions of other tags
        are dropped. Nothing is checked.
        """
        wanted = list(tags)
        names = {tag_key(tag) for tag in wanted}
        described = {
            tag: text for tag, text in self.tag_descriptions.items() if tag_key(tag) in names
        }
        synonyms = {tag: others for tag, others in self.synonyms.items() if tag_key(tag) in names}
        return {"tag_list": wanted, "tag_descriptions": described, "synonyms": synonyms}

    @property
    def system_template(self) -> str:
        """The text before the picture."""
        return self.system_prompt.strip() or templates.SYSTEM

    @property
    def user_template(self) -> str:
        """The line after the picture."""
        return self.user_prompt.strip() or templates.USER


def split_tags(tags: Any) -> tuple[Any, dict[Any, Any]]:
    """Return names and descriptions of a list of tags in which some, or all, may map a name to its
    description.

    Anything else is returned as it is.
    """
    if isinstance(tags, Mapping):
        return list(tags), {name: text for name, text in tags.items() if text is not None}
    if not isinstance(tags, list | tuple) or not any(isinstance(entry, Mapping) for entry in tags):
        return tags, {}
    pairs = [
        pair
        for entry in tags
        for pair in (entry.items() if isinstance(entry, Mapping) else [(entry, None)])
    ]
    return [name for name, _ in pairs], {name: text for name, text in pairs if text is not None}


def described_apart(listed: Mapping[Any, Any], apart: Any) -> Any:
    """Return ``apart``, with the descriptions in ``listed`` that it lacks. If it is no mapping,
    return ``apart`` alone.
    """
    if apart is None:
        return listed
    if not isinstance(apart, Mapping):
        return apart
    again = {tag_key(str(tag)) for tag in apart}
    return {tag: text for tag, text in listed.items() if tag_key(str(tag)) not in again} | dict(
        apart
    )


def clean_tags(tags: Any) -> tuple[str, ...]:
    """Return the tags in their order, trimmed. Raise ``ValueError`` for one that is empty, too
    long or listed twice.
    """
    if not isinstance(tags, list | tuple):
        raise ValueError("tags are a list of names, like [Foul, Goal]")
    others = [
        f"entry {number} is {reprlib.repr(tag)}"
        for number, tag in enumerate(tags, 1)
        if not isinstance(tag, str)
    ]
    if others:
        raise ValueError(f"tags are a list of names, but {', '.join(others)}: {IN_QUOTES}")
    cleaned = tuple(_name(tag) for tag in tags)
    check_once(cleaned)
    return cleaned


def check_once(names: Iterable[str]) -> None:
    """Raise ``ValueError`` for a tag that is there twice, also in other case."""
    seen: dict[str, str] = {}
    for name in names:
        first = seen.get(tag_key(name))
        if first is not None:
            other = "" if first == name else f", before as {first!r}: case makes no difference"
            raise ValueError(f"tag {name!r} is listed twice{other}; keep one")
        seen[tag_key(name)] = name


def clean_descriptions(described: Any) -> dict[str, str]:
    """Return each tag's description, in one line, without empty ones. Raise ``ValueError``."""
    if not isinstance(described, Mapping) or not all(
        isinstance(text, str) for text in described.values()
    ):
        raise ValueError(
            'write what each tag means, like {"Foul": "a player is fouled; the referee signals"}'
        )
    check_once(map(_name, described))
    cleaned = {_name(tag): " ".join(text.split()) for tag, text in described.items()}
    for tag, text in cleaned.items():
        if len(text) > _LONGEST_DESCRIPTION:
            raise ValueError(
                f"the description of {tag!r} has more than {_LONGEST_DESCRIPTION} characters"
            )
    return {tag: text for tag, text in cleaned.items() if text}


def clean_synonyms(synonyms: Any, tags: Iterable[str] = ()) -> dict[str, tuple[str, ...]]:
    """Return each tag's other names. Raise ``ValueError`` for a tag that is there twice, and for
    the name of another tag.
    """
    if not isinstance(synonyms, Mapping):
        raise ValueError('write other names of a tag, like {"Foul": ["personal foul"]}')
    check_once(map(_name, synonyms))
    owners = {tag_key(tag): tag for tag in tags}
    cleaned: dict[str, tuple[str, ...]] = {}
    for tag, names in synonyms.items():
        owner = _name(tag)
        if not isinstance(names, str | list | tuple):
            raise ValueError(
                f'{owner!r} has no list of other names; write it like {{"Foul": ["personal '
                f'foul"]}}, or leave it out'
            )
        cleaned[owner] = tuple(map(_name, [names] if isinstance(names, str) else names))
        for name in cleaned[owner]:
            other = owners.setdefault(tag_key(name), owner)
            if tag_key(other) != tag_key(owner):
                raise ValueError(f"{name!r} means {other!r} already, so it cannot mean {owner!r}")
    return cleaned


def _name(name: Any) -> str:
    cleaned = " ".join(name.split()) if isinstance(name, str) else ""
    if not cleaned or len(cleaned) > 200:
        remedy = "" if isinstance(name, str) else f" ({IN_QUOTES})"
        raise ValueError(
            f"a tag is a name of 1 to 200 characters; this is none: {reprlib.repr(name)}{remedy}"
        )
    return cleaned


def of_tags(values: Mapping[str, Any], tags: Iterable[str]) -> dict[str, Any]:
    """Return ``values`` in the spelling of ``tags``. Raise ``ValueError`` for a name that is not
    among them.
    """
    spelling = {tag_key(tag): tag for tag in tags}
    for name in values:
        if tag_key(name) not in spelling:
            near = difflib.get_close_matches(tag_key(name), spelling, n=1, cutoff=0.5)
            raise ValueError(
                f"{name!r} is not in tag_list"
                + (f"; did you mean {spelling[near[0]]!r}?" if near else "")
            )
    return {spelling[tag_key(name)]: value for name, value in values.items()}
