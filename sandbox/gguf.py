"""Writes GGUF files, the form in which llama.cpp keeps models: named settings, then named arrays of
numbers.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3, with 32-bit floats throughout.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Setting = bool | int | float | str | Sequence[int] | Sequence[float] | Sequence[str]
Tensors = Mapping[str, NDArray[np.float32]]

_ALIGNMENT = 32
_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


def write(path: Path, settings: Mapping[str, Setting], tensors: Tensors) -> None:
    """Write one file.

    Integers are stored as unsigned 32 bits, those in sequences as signed; no sequence may be empty.
    """
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(settings))]
    head += [_string(name) + _typed(value) for name, value in settings.items()]
    offset = 0
    for name, tensor in tensors.items():
        shape = tensor.shape[::-1]  # the quickest dimension first
        head.append(
            _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)
        )
        offset += _padded(tensor.nbytes)
    with path.open("wb") as file:
        file.write(b"".join(head))
        file.write(bytes(_padded(file.tell()) - file.tell()))
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor, np.float32).tobytes())
            file.write(bytes(_padded(tensor.nbytes) - tensor.nbytes))


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _typed(value: Setting) -> bytes:
    if isinstance(value, bool | int | float | str):
        kind = _kind(value)
        return struct.pack("<I", kind) + _plain(kind, value)
    kind = _I32 if isinstance(value[0], int) else _kind(value[0])
    return struct.pack("<IIQ", _ARRAY, kind, len(value)) + b"".join(
        _plain(kind, item) for item in value
    )


def _kind(value: bool | int | float | str) -> int:
    if isinstance(value, bool):
        return _BOOL
    return _STRING if isinstance(value, str) else _U32 if isinstance(value, int) else _F32


def _plain(kind: int, value: bool | int | float | str) -> bytes:
    if isinstance(value, str):
        return _string(value)
    return struct.pack({_BOOL: "<?", _U32: "<I", _I32: "<i", _F32: "<f"}[kind], value)
