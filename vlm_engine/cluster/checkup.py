"""The check of a cluster: which of its workers can be used, and whether they have the files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from vlm_engine.checkup.values import Finding, Section, SectionKind, note, ok, wrong
from vlm_engine.cluster.engine import for_workers
from vlm_engine.cluster.roster import KnownWorker
from vlm_engine.cluster.session import Session
from vlm_engine.config.cluster import ClusterConfig
from vlm_engine.config.models import EngineConfig
from vlm_engine.errors import ConfigError
from vlm_engine.store import AnswerStore

_LIMIT_S, _JOIN_S = 45.0, 40.0
_LOOK_AGAIN_S = 0.05


async def check(config: EngineConfig, cluster: ClusterConfig, files: Sequence[str]) -> Section:
    """Return what is found about the cluster. See ``vlm_engine.cluster.check_cluster``."""
    title = f"Cluster {cluster.address}"
    findings: list[Finding] = []
    store = await asyncio.to_thread(AnswerStore, None)
    with closing(store):
        try:
            async with (
                asyncio.timeout(_LIMIT_S),
                Session(for_workers(config), cluster, store, _JOIN_S) as session,
            ):
                findings += await _findings(session, config, cluster, files)
        except ConfigError as error:
            findings += (wrong("workers", line) for line in str(error).splitlines())
        except TimeoutError:
            text = f"it was not ready within {_LIMIT_S:.0f} s: see the logs of its workers"
            findings.append(wrong("workers", text))
    return Section(SectionKind.CLUSTER, title, tuple(findings))


async def _findings(
    session: Session, config: EngineConfig, cluster: ClusterConfig, files: Sequence[str]
) -> list[Finding]:
    roster = session.roster
    while len(roster.known) < cluster.local_workers or not roster.is_settled:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_AGAIN_S)
    ready, known = len(roster.ready), len(roster.known)
    text, at_once = f"{ready} of {known} can be used", session.places
    unreadable = await roster.unreadable(files)
    return [
        ok("workers", text, used=ready, known=known, videos_at_once=at_once),
        *(_used(worker, files, unreadable[address]) for address, worker in roster.ready.items()),
        *(note("worker", reason) for reason in roster.refused.values()),
        *_unknown_names(roster.known.values(), config, cluster),
    ]


def _used(worker: KnownWorker, files: Sequence[str], faults: Sequence[str]) -> Finding:
    """Return the finding about a worker that can be used. ``faults``: of the files it lacks."""
    text = f"{worker} takes {worker.places} at once"
    if not files:
        return ok("worker", text)
    sampled, readable = len(files), len(files) - len(faults)
    text += f"; {readable} of {sampled} sampled files can be read there"
    if not faults:
        return ok("worker", text, sampled=sampled, readable=readable)
    text += f"; {faults[0]}. Say under `paths` of the cluster where it has the folder"
    return wrong("worker", text, sampled=sampled, readable=readable)


def _unknown_names(
    workers: Iterable[KnownWorker], config: EngineConfig, cluster: ClusterConfig
) -> Iterator[Finding]:
    """Yield a note for each name in the settings that no worker has."""
    names = {name for one in workers for name in (one.name, one.host, one.address, "*", "")}
    for name in cluster.paths.keys() - names:
        yield note("paths", f"no worker is called {name} now, so its folders are not used")
    for endpoint, _ in config.used_endpoints():
        if endpoint.worker not in names:
            text = f"no worker is called {endpoint.worker} now, so {endpoint.label} is not asked"
            yield note("endpoint", text)
