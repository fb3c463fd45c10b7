"""The styles in which a model can be asked: how large pictures are, and in which form it answers.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from vlm_engine.config.models import ModelConfig
from vlm_engine.types import Form, ImageShape, QuestionStyle, VideoInfo


@dataclass(frozen=True, slots=True)
class Choice:
    """Two values of one part of a style, of which evidence chooses one.

    ``name`` is that of the choice in the store. ``setting``: what keeps the usual value.
    """

    name: str
    usual: Form | ImageShape
    other: Form | ImageShape
    setting: str

    @property
    def is_size(self) -> bool:
        """True where the size of the pictures is chosen, False where it is the form."""
        return isinstance(self.usual, ImageShape)

    def applied(self, style: QuestionStyle, *, other: bool) -> QuestionStyle:
        """Return the style with the usual or the other value."""
        value = self.other if other else self.usual
        if isinstance(value, Form):
            return replace(style, form=value)
        return replace(style, shape=value)

    def is_other(self, style: QuestionStyle) -> bool:
        """Return whether the style has the other value."""
        return self.other in {style.form, style.shape}


def still_style(model: ModelConfig) -> QuestionStyle:
    """Return the style of questions about pictures that are not frames of a video."""
    return QuestionStyle(Form.LIST, _full(model))


def usual_style(model: ModelConfig, video: VideoInfo | None = None) -> QuestionStyle:
    """Return the style of questions about frames of videos before there is any evidence: small
    pictures and lists, unless the settings say otherwise.

    Where ``video`` is no larger than a small picture, both sizes are the same picture, and count as
    small.
    """
    is_full = model.frame_size == "full" and (video is None or _is_larger(model, video))
    form = Form.LIST if model.answer_form == "auto" else Form(model.answer_form)
    return QuestionStyle(form, _full(model) if is_full else _small(model))


def choices(model: ModelConfig, video: VideoInfo | None = None) -> Iterator[Choice]:
    """Yield what the settings leave open, for one video or for all."""
    small, full = _small(model), _full(model)
    if model.frame_size == "auto" and small != full and (video is None or _is_larger(model, video)):
        yield Choice(
            f"{small.max_side} or {full.max_side}",
            small,
            full,
            "FRAME_SIZE: small (frame_size of the model)",
        )
    if model.answer_form == "auto":
        yield Choice(
            "list or verdicts",
            Form.LIST,
            Form.VERDICTS,
            "ANSWER_FORM: list (answer_form of the model)",
        )


def is_allowed(style: QuestionStyle, model: ModelConfig, video: VideoInfo) -> bool:
    """Return whether the settings leave this style open."""
    for choice in choices(model, video):
        if choice.is_other(style):
            style = choice.applied(style, other=False)
    return style == usual_style(model, video)


def every_style(model: ModelConfig) -> tuple[QuestionStyle, ...]:
    """Return every style in which frames of videos can be asked about, full pictures and verdicts
    first.
    """
    shapes = dict.fromkeys((_full(model), _small(model)))
    forms = (Form.VERDICTS, Form.LIST, Form.NAMES)
    return tuple(QuestionStyle(form, shape) for form in forms for shape in shapes)


def style_in(video: VideoInfo, style: QuestionStyle, model: ModelConfig) -> QuestionStyle:
    """Return the style as it counts in a video: its full pictures may be small ones."""
    return style if _is_larger(model, video) else replace(style, shape=_small(model))


def is_small(style: QuestionStyle, model: ModelConfig) -> bool:
    """Return whether the pictures of the style are small ones."""
    return style.shape == _small(model)


def _small(model: ModelConfig) -> ImageShape:
    return ImageShape(min(model.scan_max_side, model.image_max_side), model.image_quality)


def _full(model: ModelConfig) -> ImageShape:
    return ImageShape(model.image_max_side, model.image_quality)


def _is_larger(model: ModelConfig, video: VideoInfo) -> bool:
    return max(video.width, video.height) > _small(model).max_side
