"""Measurements of checks, one small file for an endpoint, or for a cluster, in the data folder: a
forecast asks nobody.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from haven.setup.files import remove_left_over, write_whole
from vlm_engine import (
    ClusterConfig,
    EndpointConfig,
    EndpointSpeed,
    EngineConfig,
    Measurement,
    QuestionCost,
)

_log = logging.getLogger(__name__)
_FOLDER = "measured"


def keep_measurement(
    data_dir: Path, endpoint: EndpointConfig, measurement: Measurement | None
) -> None:
    """Keep what a check has measured at ``endpoint``; None: that it does not work. Blocking.

    A file that cannot be written is a warning: only the next forecast lacks it.
    """
    content = None if measurement is None else asdict(measurement)
    _keep(_path_of(data_dir, endpoint), content, f"The speed of {endpoint.label}")


def kept_measurements(data_dir: Path, config: EngineConfig) -> tuple[Measurement, ...]:
    """Return what was measured at the endpoints that a run would use. Blocking."""
    paths = (_path_of(data_dir, endpoint) for endpoint, _ in config.used_endpoints())
    return tuple(filter(None, map(_measurement, paths)))


def keep_places(data_dir: Path, cluster: ClusterConfig, places: int | None) -> None:
    """Keep how many videos the cluster takes at once; None: that it cannot be used. Blocking.

    A file that cannot be written is a warning: only the next forecast lacks it.
    """
    content = None if places is None else {"places": places}
    _keep(_path(data_dir, [cluster.address]), content, f"What {cluster.address} takes at once")


def kept_places(data_dir: Path, cluster: ClusterConfig) -> int | None:
    """Return how many videos the cluster took at once in the last check, if it worked. Blocking."""
    try:
        return int(_read(_path(data_dir, [cluster.address]))["places"])
    except (TypeError, KeyError, ValueError):
        return None


def _path_of(data_dir: Path, endpoint: EndpointConfig) -> Path:
    return _path(data_dir, [endpoint.base_url, endpoint.model_id, endpoint.is_fallback])


def _path(data_dir: Path, identity: list[Any]) -> Path:
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    return data_dir / _FOLDER / f"{name}.json"


def _keep(path: Path, content: dict[str, Any] | None, what: str) -> None:
    try:
        if content is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(exist_ok=True)
        remove_left_over(path.parent)
        write_whole(path, json.dumps(content))
    except OSError as error:
        _log.warning("%s cannot be kept in %s: %s", what, path, error)


def _measurement(path: Path) -> Measurement | None:
    content = _read(path)
    if content is None:
        return None
    try:
        speed = content["speed"]
        cost = QuestionCost(**speed["cost"]) if speed["cost"] else None
        return Measurement(EndpointSpeed(**{**speed, "cost": cost}), tuple(content["models"]))
    except (TypeError, KeyError) as error:
        _log.debug("%s is passed over: %s", path, error)
        return None


def _read(path: Path) -> Any:
    """Return what is kept in a file; None if it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _log.debug("%s is passed over: %s", path, error)
        return None
