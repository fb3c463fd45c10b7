"""Scale a picture and encode it as the JPEG that is sent to a model."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from vlm_engine.types import ImageShape

MIN_SIDE = 64  # models with 28-pixel patches refuse pictures that are only a patch or two high
_GREY = (128, 128, 128)


def over_grey(image: Image.Image) -> Image.Image:
    """Return ``image`` as RGB, on neutral grey where it is transparent."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    layer = image.convert("RGBA")
    ground = Image.new("RGB", image.size, _GREY)
    ground.paste(layer, mask=layer.getchannel("A"))
    return ground


def fitted_size(width: int, height: int, shape: ImageShape) -> tuple[int, int]:
    """Return the size, in the same proportions, at which a picture is sent.

    The longest side is at most ``shape.max_side``. Only a picture with a side under 64 pixels is
    enlarged, until the shorter side reaches 64 or the longer one ``max_side``.
    """
    longest, shortest = max(width, height), min(width, height)
    fits = shape.max_side / longest
    scale = min(fits, max(1.0, MIN_SIDE / shortest))
    return max(1, round(width * scale)), max(1, round(height * scale))


def encode(image: Image.Image, shape: ImageShape) -> tuple[bytes, int, int]:
    """Return ``image`` as a JPEG of ``fitted_size``, with its width and height in pixels.

    A strip so long that one side would still be under 64 pixels gets grey bars along it.
    """
    scaled = fitted(over_grey(image), shape)
    if min(scaled.size) < MIN_SIDE:
        scaled = _with_bars(scaled)
    written = BytesIO()
    scaled.save(written, "JPEG", quality=shape.quality)
    return written.getvalue(), scaled.width, scaled.height


def fitted(image: Image.Image, shape: ImageShape) -> Image.Image:
    """Return ``image`` in its ``fitted_size``."""
    size = fitted_size(image.width, image.height, shape)
    return (
        image
        if size == image.size
        else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    )


def _with_bars(image: Image.Image) -> Image.Image:
    ground = Image.new("RGB", (max(MIN_SIDE, image.width), max(MIN_SIDE, image.height)), _GREY)
    ground.paste(image, ((ground.width - image.width) // 2, (ground.height - image.height) // 2))
    return ground
