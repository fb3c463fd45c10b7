"""Videos and pictures spread over the workers of a Dask cluster.

``open_engine`` gives the engine that the settings ask for. With ``EngineConfig.cluster`` it is a
``ClusterEngine``, which has the methods of ``VLMEngine`` and lets the workers do the work; it needs
the packages of ``vlm-engine[cluster]``. This process keeps the answer store. Workers call it for
every answer, so a worker that is lost costs only what it had in flight.

    caller    engine.py     one task for each video, one for some pictures; answers the store calls
    scheduler hub.py        passes store calls on; divides the slots of endpoints (division.py)
    worker    worker.py     one engine for each caller; its store (remote_store.py) and its share of
                            the slots (slots.py) are at the other end of a link (link.py)
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vlm_engine.engine import VLMEngine
from vlm_engine.errors import ConfigError

if TYPE_CHECKING:
    from vlm_engine.config.models import EngineConfig

__all__ = ["open_engine"]


def open_engine(config: EngineConfig) -> VLMEngine:
    """Return the engine for these settings, not opened yet: one in this process, or a cluster's.

    Raises ``ConfigError`` when a cluster is set and its packages are missing.
    """
    if config.cluster is None:
        return VLMEngine(config)
    try:
        from vlm_engine.cluster.engine import ClusterEngine
    except ImportError as error:
        raise ConfigError(
            f"cluster: it needs packages that are not installed here ({error.name or error}): "
            'install them with: pip install "vlm-engine[cluster]"'
        ) from error
    # It logs every connection, and losses that this package tells in words of its own.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return ClusterEngine(config)
