"""Rules that turn sightings of a tag into markers and tags."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vlm_engine.config.base import SettingsGroup, clean_name


class Length(BaseModel):
    """A length of time: seconds, or a share of the video. Write ``12``, ``"12s"`` or ``"5%"``."""

    model_config = ConfigDict(frozen=True)
    value: float = Field(ge=0, allow_inf_nan=False)
    unit: Literal["s", "%"] = "s"

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any) -> Any:
        if isinstance(data, int | float) and not isinstance(data, bool):
            return {"value": data}
        if isinstance(data, str):
            match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|%|)\s*", data)
            if not match:
                raise ValueError(
                    f'{data!r} is not a length; write seconds ("12s" or 12) or a share of the '
                    'video ("5%")'
                )
            return {"value": float(match[1]), "unit": match[2] or "s"}
        return data

    def __str__(self) -> str:
        """Return it as a user writes it."""
        return f"{self.value:g}{self.unit}"

    def seconds(self, duration_s: float) -> float:
        """Return the length in seconds, for a video of ``duration_s``."""
        return self.value * duration_s / 100 if self.unit == "%" else self.value


class TagRule(SettingsGroup):
    """Rule that turns the spans of one tag into markers and tags.

    Spans whose confidence is below ``TagThreshold`` are dropped. Spans no further apart than
    ``MaxGap`` are joined. Then spans shorter than ``MinMarkerDuration`` are dropped. The tag
    applies to the whole video if the rest lasts at least ``RequiredDuration`` in all.
    """

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    renamed: str | None = Field(None, validation_alias="RenamedTag")
    """The tag's name in the result. Tags with the same new name become one. None: its name in
    `tag_list`."""

    min_marker: Length = Field(Length(value=1), validation_alias="MinMarkerDuration")
    """Shorter spans are dropped, after gaps are closed."""

    max_gap: Length = Field(Length(value=1), validation_alias="MaxGap")
    """Spans no further apart than this are joined."""

    required: Length = Field(Length(value=1), validation_alias="RequiredDuration")
    """The tag is reported only if its spans last at least this long in all."""

    threshold: float = Field(0.5, validation_alias="TagThreshold", ge=0, le=1)
    """Spans with a lower confidence are dropped. Tags of a picture have a confidence only if the
    server reports one; without one they pass."""

    @field_validator("renamed")
    @classmethod
    def _some_name(cls, name: str | None) -> str | None:
        return None if name is None else clean_name(name)

    def as_written(self) -> dict[str, str | float | None]:
        """Return what the rule itself sets, as a user writes it."""
        values = {
            str(field.validation_alias): getattr(self, name)
            for name, field in type(self).model_fields.items()
            if name in self.model_fields_set
        }
        return {
            name: str(value) if isinstance(value, Length) else value
            for name, value in values.items()
        }

    def overridden(self, other: TagRule) -> TagRule:
        """Return this rule with everything that ``other`` sets itself."""
        return self.model_copy(
            update={name: getattr(other, name) for name in other.model_fields_set}
        )
