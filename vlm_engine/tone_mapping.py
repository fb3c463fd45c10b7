"""Convert HDR and wide-gamut colours to sRGB. Primaries and transfers have the numbers of ITU-T
H.273."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CICP = "cicp"
"""Key of (primaries, transfer) in the ``info`` of a Pillow image."""

Floats = NDArray[np.float32]
Values = NDArray[np.float64]

_BT2020, _DCI_P3, _DISPLAY_P3 = 9, 11, 12
_PQ, _HLG, _LINEAR = 16, 18, 8
_GAMMAS = {4: 2.2, 5: 2.8}
# Reference white of HDR in cd/m2 (ITU-R BT.2408), how much brighter a highlight may be before it
# clips, and the brightness of the screen that HLG is made for (ITU-R BT.2100).
_WHITE, _HEADROOM, _HLG_PEAK = 203.0, 4.0, 1000.0
_BAND_PIXELS = 1_000_000
_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)
_WHITE_XY = {_DCI_P3: (0.314, 0.351)}
_D65 = (0.3127, 0.3290)
_PRIMARIES_XY = {
    _BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    _DCI_P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    _DISPLAY_P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_SRGB_XY = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))


def is_srgb(primaries: int, transfer: int) -> bool:
    """Return whether such colours count as sRGB, which ordinary screens show as they are."""
    return primaries not in _PRIMARIES_XY and transfer not in {_PQ, _HLG, _LINEAR, *_GAMMAS}


def to_srgb(image: Image.Image, primaries: int, transfer: int) -> Image.Image:
    """Convert an RGB picture to sRGB. Colours that are not known here count as sRGB.

    Light above reference white is compressed by the extended Reinhard operator, channel by channel.
    """
    if is_srgb(primaries, transfer):
        return image
    pixels = np.asarray(image)
    result = np.empty_like(pixels)
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        light = _screen_light(pixels[top : top + rows], transfer)
        if primaries in _PRIMARIES_XY:
            light = light @ _srgb_matrix(primaries).T
        result[top : top + rows] = np.rint(_encoded(light) * 255)
    return Image.fromarray(result)


def _screen_light(pixels: NDArray[np.uint8], transfer: int) -> Floats:
    """Return linear light, 1 for the white of an ordinary screen."""
    light = _curve(transfer)[pixels]
    if transfer == _HLG:
        light *= np.maximum(light @ _LUMA, 1e-6)[..., None] ** np.float32(0.2) * np.float32(
            _HLG_PEAK / _WHITE
        )
    if transfer in {_HLG, _PQ}:
        light = np.minimum(light * (1 + light / _HEADROOM**2) / (1 + light), 1)
    return light


@cache
def _curve(transfer: int) -> Floats:
    """Return the light of each 8-bit value, over reference white (HLG: of the scene) or screen
    white."""
    values = np.linspace(0, 1, 256)
    if transfer in _GAMMAS:
        light = values ** _GAMMAS[transfer]
    else:
        light = {_PQ: _pq, _HLG: _hlg, _LINEAR: _linear}.get(transfer, _srgb)(values)
    return light.astype(np.float32)


def _pq(values: Values) -> Values:
    """Decode SMPTE ST 2084."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = values ** (1 / m2)
    light: Values = 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) / _WHITE
    return light


def _hlg(values: Values) -> Values:
    """Invert the camera's curve of ARIB STD-B67."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)


def _linear(values: Values) -> Values:
    return values


def _srgb(values: Values) -> Values:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _encoded(light: Floats) -> Floats:
    light = np.clip(light, 0, 1)
    return np.where(
        light <= 0.0031308,
        12.92 * light,
        1.055 * np.maximum(light, 1e-9) ** np.float32(1 / 2.4) - 0.055,
    )


@cache
def _srgb_matrix(primaries: int) -> Floats:
    """Return the matrix from linear light in these primaries to sRGB's; white stays white."""
    source = _to_xyz(_PRIMARIES_XY[primaries], _WHITE_XY.get(primaries, _D65))
    matrix = np.linalg.inv(_to_xyz(_SRGB_XY, _D65)) @ source
    scaled: Values = matrix / matrix.sum(axis=1, keepdims=True)
    return scaled.astype(np.float32)


def _to_xyz(primaries: tuple[tuple[float, float], ...], white: tuple[float, float]) -> Values:
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    whole = np.array([white[0] / white[1], 1, (1 - white[0] - white[1]) / white[1]])
    scaled: Values = columns * np.linalg.solve(columns, whole)
    return scaled
