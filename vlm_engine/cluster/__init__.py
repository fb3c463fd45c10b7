"""Videos and pictures spread over the workers of a Dask cluster.

``open_engine`` gives the engine that the settings ask for. With ``EngineConfig.cluster`` it is a
``ClusterEngine``, which has the methods of ``VLMEngine`` and lets the workers do the work; it needs
the packages of ``vlm-engine[cluster]``. This process keeps the answer store. Workers call it for
every answer, so a worker that is lost costs only what it had in flight.

    caller    engine.py     the engine that a program uses, over a session (session.py): connect
                            (connection.py), follow the workers (roster.py), answer store calls,
                            send tasks (dispatch.py): one for each video, one for some pictures
    scheduler hub.py        passes store calls on; divides the slots of endpoints (division.py)
    worker    worker.py     one engine for each caller; its store (remote_store.py) and its share of
                            the slots (slots.py) are at the other end of a link (link.py)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlm_engine.checkup.values import Section, SectionKind, wrong
from vlm_engine.engine import VLMEngine
from vlm_engine.errors import ConfigError

if TYPE_CHECKING:
    from vlm_engine.config.models import EngineConfig

__all__ = ["check_cluster", "checked_places", "open_engine"]


def open_engine(config: EngineConfig) -> VLMEngine:
    """Return the engine for these settings, not opened yet: one in this process, or a cluster's.

    Raises ``ConfigError`` when a cluster is set and its packages are missing.
    """
    if config.cluster is None:
        return VLMEngine(config)
    try:
        from vlm_engine.cluster.engine import ClusterEngine
    except ImportError as error:
        raise _not_installed(error) from error
    _silence_dask()
    return ClusterEngine(config)


async def check_cluster(config: EngineConfig, files: Sequence[str] = ()) -> Section | None:
    """Return which workers of the cluster can be used, and why others cannot; None without one.

    ``files``: some of those that a run would read, in the paths of this machine; whether each
    worker can read them is found out, too. Ends within about a minute.
    """
    if config.cluster is None:
        return None
    try:
        from vlm_engine.cluster.checkup import check
    except ImportError as error:
        finding = wrong("packages", str(_not_installed(error)))
        return Section(SectionKind.CLUSTER, f"Cluster {config.cluster.address}", (finding,))
    _silence_dask()
    return await check(config, config.cluster, files)


def checked_places(section: Section | None) -> int | None:
    """Return how many videos the cluster takes at once, as ``check_cluster`` found; None if it
    cannot be used, or there is none.
    """
    findings = section.findings if section else ()
    found = (finding.figures.get("videos_at_once") for finding in findings)
    return next((int(places) for places in found if places), None)


def _not_installed(error: ImportError) -> ConfigError:
    return ConfigError(
        f"cluster: it needs packages that are not installed here ({error.name or error}): "
        'install them with: pip install "vlm-engine[cluster]"'
    )


def _silence_dask() -> None:
    """Keep Dask from logging every connection, and losses that this package reports itself."""
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
