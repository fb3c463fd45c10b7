"""The styles in which a model can be asked: how large pictures are, and in which form it answers.
Pure.
"""

from __future__ import annotations

from vlm_engine.config.models import ModelConfig
from vlm_engine.types import Form, ImageShape, QuestionStyle


def still_style(model: ModelConfig) -> QuestionStyle:
    """Return the style of questions about pictures that are not frames of a video."""
    return QuestionStyle(Form.LIST, ImageShape(model.image_max_side, model.image_quality))


def usual_style(model: ModelConfig) -> QuestionStyle:
    """Return the style of questions about frames of videos before there is any evidence: small
    pictures and lists, unless the settings say otherwise.
    """
    small = min(model.image_max_side, model.scan_max_side)
    side = model.image_max_side if model.frame_size == "full" else small
    form = Form.LIST if model.answer_form == "auto" else Form(model.answer_form)
    return QuestionStyle(form, ImageShape(side, model.image_quality))
