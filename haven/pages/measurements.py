"""Measurements of checks, one small file an endpoint in the data folder: a forecast asks nobody."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from haven.setup.files import remove_left_over, write_whole
from vlm_engine import EndpointConfig, EndpointSpeed, EngineConfig, Measurement, QuestionCost

_log = logging.getLogger(__name__)
_FOLDER = "measured"


def keep_measurement(
    data_dir: Path, endpoint: EndpointConfig, measurement: Measurement | None
) -> None:
    """Keep what a check has measured at ``endpoint``; None: that it does not work. Blocking.

    A file that cannot be written is a warning: only the next forecast lacks it.
    """
    path = _path(data_dir, endpoint)
    try:
        if measurement is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(exist_ok=True)
        remove_left_over(path.parent)
        write_whole(path, json.dumps(asdict(measurement)))
    except OSError as error:
        _log.warning("The speed of %s cannot be kept in %s: %s", endpoint.label, path, error)


def kept_measurements(data_dir: Path, config: EngineConfig) -> tuple[Measurement, ...]:
    """Return what was measured at the endpoints that a run would use. Blocking."""
    return tuple(
        measurement
        for endpoint, _ in config.used_endpoints()
        for measurement in _read(_path(data_dir, endpoint))
    )


def _path(data_dir: Path, endpoint: EndpointConfig) -> Path:
    identity = json.dumps([endpoint.base_url, endpoint.model_id, endpoint.is_fallback])
    return data_dir / _FOLDER / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"


def _read(path: Path) -> Iterator[Measurement]:
    try:
        content = json.loads(path.read_bytes())
        speed = content["speed"]
        cost = QuestionCost(**speed["cost"]) if speed["cost"] else None
        yield Measurement(EndpointSpeed(**{**speed, "cost": cost}), tuple(content["models"]))
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, KeyError) as error:
        _log.debug("%s is passed over: %s", path, error)
