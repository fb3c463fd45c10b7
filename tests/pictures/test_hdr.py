"""HDR and wide gamuts: what is sent has the colours of an ordinary screen."""

from __future__ import annotations

import io
from contextlib import closing

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray

from sandbox.heif import heic, nclx, profile, tiled
from sandbox.stills import Pixels, swapped_profile
from tests.pictures.stored import SCENE, file_of, in_rgb, looks_like, sent, with_chunk

BT2020, DISPLAY_P3 = 9, 12
SRGB, PQ, HLG = 13, 16, 18
WHITE = 203.0
Floats = NDArray[np.float64]

# From light in the primaries of sRGB to those of BT.2020 (ITU-R BT.2087) and of Display P3.
_FROM_SRGB = {
    BT2020: np.array(
        [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    ),
    DISPLAY_P3: np.array(
        [[0.8225, 0.1774, 0.0000], [0.0332, 0.9669, 0.0000], [0.0171, 0.0724, 0.9108]]
    ),
}


def light_of(pixels: Pixels) -> Floats:
    values = pixels / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def as_values(light: Floats) -> Floats:
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def pq(nits: Floats) -> Floats:
    root = (np.maximum(nits, 0) / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * root) / (1 + 2392 / 128 * root)) ** (2523 / 32)


def hlg(nits: Floats) -> Floats:
    screen = np.maximum(nits, 0) / 1000
    luma = np.maximum(screen @ [0.2627, 0.6780, 0.0593], 1e-9)[..., None]
    scene_light = screen / luma ** (0.2 / 1.2)
    bent = 0.17883277 * np.log(np.maximum(12 * scene_light - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene_light <= 1 / 12, np.sqrt(3 * scene_light), bent)


def stored(primaries: int, transfer: int) -> Pixels:
    """The scene, its white as bright as HDR's reference white, in these colours."""
    light = light_of(SCENE) @ _FROM_SRGB[primaries].T
    values = {
        PQ: lambda: pq(light * WHITE),
        HLG: lambda: hlg(light * WHITE),
        SRGB: lambda: as_values(light) / 255,
    }[transfer]()
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def tone_mapped(light: Floats) -> Floats:
    """Values of light, if highlights up to four times as bright as white have to fit in."""
    return as_values(light * (1 + light / 16) / (1 + light))


def expected(transfer: int) -> Floats:
    return SCENE.astype(float) if transfer == SRGB else tone_mapped(light_of(SCENE))


def avif(pixels: Pixels, primaries: int, transfer: int) -> bytes:
    """As FFmpeg writes it; Pillow reads it."""
    written = io.BytesIO()
    with closing(av.open(written, "w", format="avif")) as container:
        stream: VideoStream = container.add_stream(
            "libsvtav1", rate=1, options={"crf": "5", "preset": "10", "svtav1-params": "avif=1"}
        )
        stream.height, stream.width, _ = pixels.shape
        stream.pix_fmt = "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc = primaries, transfer
        context.colorspace, context.color_range = 5, 1
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p10le")
        frame.pts = 0
        frame.colorspace, frame.color_primaries, frame.color_trc = 5, primaries, transfer
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return written.getvalue()


def with_cicp(content: bytes, primaries: int, transfer: int) -> bytes:
    return with_chunk(content, b"cICP", bytes([primaries, transfer, 0, 1]))


def png(pixels: Pixels, primaries: int, transfer: int) -> bytes:
    return with_cicp(file_of(pixels), primaries, transfer)


def one_heic(pixels: Pixels, primaries: int, transfer: int) -> bytes:
    return heic(pixels, nclx(primaries, transfer, 6, is_full=False), pixel_format="yuv420p10le")


def tiled_heic(pixels: Pixels, primaries: int, transfer: int) -> bytes:
    return tiled(pixels, 160, nclx(primaries, transfer, 6, is_full=False))


@pytest.mark.parametrize("encode", [png, one_heic, tiled_heic, avif])
@pytest.mark.parametrize(
    ("primaries", "transfer"),
    [(BT2020, PQ), (BT2020, HLG), (DISPLAY_P3, PQ), (DISPLAY_P3, SRGB), (BT2020, SRGB)],
)
def test_colours_told_by_numbers_are_brought_to_srgb(encode, primaries, transfer):
    content = encode(stored(primaries, transfer), primaries, transfer)
    assert looks_like(content, expected(transfer), within=5)


def test_an_avif_that_pillow_refuses():
    content = heic(stored(BT2020, PQ), nclx(BT2020, PQ, 6, is_full=False), codec="libsvtav1")
    assert looks_like(content, expected(PQ), within=5)


def test_grey_and_transparent_pictures_are_tone_mapped_as_well():
    light = light_of(SCENE[..., 1])
    grey = np.rint(pq(light * WHITE) * 255).astype(np.uint8)
    assert looks_like(with_cicp(file_of(grey), BT2020, PQ), in_rgb(tone_mapped(light)))
    opaque = np.dstack([stored(BT2020, PQ), np.full(SCENE.shape[:2], 255, np.uint8)])
    assert looks_like(with_cicp(file_of(opaque), BT2020, PQ), expected(PQ), within=5)


def test_highlights_are_told_from_white():
    nits = np.repeat(np.array([203.0, 400.0, 800.0]), 64)[None, :, None] * np.ones((64, 1, 3))
    content = file_of(np.rint(pq(nits) * 255).astype(np.uint8))
    pixels = sent(with_cicp(content, BT2020, PQ)).astype(int)
    white, bright, brightest = (int(pixels[32, column].mean()) for column in (32, 96, 160))
    assert 170 < white < bright - 15 < brightest - 30


def test_numbers_override_a_profile_in_a_png_but_not_in_a_heic():
    png = file_of(SCENE, icc_profile=swapped_profile())
    assert looks_like(with_cicp(png, 1, SRGB))
    swapped = np.ascontiguousarray(SCENE[..., (1, 0, 2)])
    both = heic(swapped, profile(swapped_profile()), nclx(BT2020, PQ, 6, is_full=False))
    assert looks_like(both, within=4)


@pytest.mark.parametrize(
    "numbers", [b"", b"\xff\xff\0\1", bytes([2, 2, 0, 1]), bytes([9, 16, 9, 1]), bytes(4)]
)
def test_numbers_that_mean_nothing_change_nothing(numbers):
    assert looks_like(with_chunk(file_of(SCENE), b"cICP", numbers))
