"""Measure how unlike endpoints are used, and what happens to requests when some fail (``make
bench-pool``). ``make bench-pool``.

Fake endpoints in processes of their own, on loopback; every client in a process of its own. Writes
tables into the docs. ``--quick`` shows that everything works; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.pool_clients import Job, Outcome
from benchmarks.pool_report import report
from benchmarks.pool_scenes import (
    ENGINE,
    POOL,
    WAITING,
    Client,
    Extent,
    Run,
    Scene,
    full,
    others,
    quick,
)
from benchmarks.pool_server import Counts, Endpoint
from benchmarks.quiet import wait_until_quiet

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGE = "benchmarks-pool.md"
_PART = re.compile(
    r"(<!-- pool: made by make bench-pool -->\n).*?(<!-- end of pool -->)", re.DOTALL
)
_PATIENCE_S = 120


@dataclass(frozen=True, slots=True)
class Process:
    """A fake endpoint that runs."""

    url: str
    process: subprocess.Popen[str]

    def begin(self) -> None:
        """The clock of its faults starts."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def counted(self) -> Counts:
        """End it, and gives what it did."""
        return Counts(**json.loads(self.process.communicate(timeout=_PATIENCE_S)[0]))


@contextmanager
def serving(endpoint: Endpoint) -> Iterator[Process]:
    """Run a fake endpoint until the block ends."""
    command = [sys.executable, "-m", "benchmarks.pool_server", json.dumps(asdict(endpoint))]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield Process(f"http://127.0.0.1:{process.stdout.readline().strip()}/v1", process)
        finally:
            process.kill()


def measure(client: Client, scene: Scene) -> Run:
    """One client in one scene."""
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(endpoint)) for endpoint in scene.endpoints]
        job = Job(
            client.kind,
            tuple(server.url for server in servers),
            tuple(endpoint.slots for endpoint in scene.endpoints),
            tuple(endpoint.rate for endpoint in scene.usual),
            scene.questions,
            scene.limit_s,
            client.callers,
        )
        command = [client.python, "-m", "benchmarks.pool_clients", json.dumps(asdict(job))]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            for server in servers:
                server.begin()
            output, _ = process.communicate(timeout=_PATIENCE_S)
        counts = [server.counted() for server in servers]
    return Run(client, scene, Outcome(**json.loads(output)), tuple(counts))


def run(extent: Extent, docs: Path) -> str:
    """Measure, puts the tables into the folder ``docs``, which holds the page, and returns the
    text.

    What there are promises about comes first: each waits for a quiet machine, for a time.
    """
    runs = [
        _measure_quietly(POOL, scene, extent.patience_s)
        for scene in (*extent.three, *extent.twelve)
    ]
    memory = [
        measure(client, scene)
        for client in (ENGINE, WAITING)
        for scene in (extent.few, extent.many)
    ]
    others = [
        _measure_quietly(client, scene, 0.0) for scene in extent.three for client in extent.others
    ]
    three, twelve = runs[: len(extent.three)], runs[len(extent.three) :]
    text = report([*three, *others], twelve, memory)
    page = docs / PAGE
    page.write_text(
        _PART.sub(lambda part: f"{part[1]}{text}\n{part[2]}", page.read_text(encoding="utf-8")),
        encoding="utf-8",
    )
    return text


def _measure_quietly(client: Client, scene: Scene, patience_s: float) -> Run:
    quiet = not patience_s or wait_until_quiet(0.8, patience_s)
    result = measure(client, scene)
    line = f"{client.name}, {scene.name}: {result.over_ideal:.3f} of the ideal"
    sys.stderr.write(line + ("\n" if quiet else ", while others used the machine\n"))
    return result


def installed(python: str) -> tuple[Client, ...]:
    """Of those to compare with, the ones that ``python`` has."""
    return tuple(
        client for client in others(python) if _imports(python, client.kind.partition("-")[0])
    )


def _imports(python: str, kind: str) -> bool:
    package = {"multiplexer": "multiplexer_llm"}.get(kind, kind)
    try:
        return (
            subprocess.run(
                [python, "-c", f"import {package}"], capture_output=True, check=False
            ).returncode
            == 0
        )
    except OSError:
        return False


def main() -> None:
    """Measure, prints the tables and puts them on the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--quick",
        action="store_true",
        help="few questions to quick endpoints; the figures mean nothing",
    )
    options.add_argument("--alone", action="store_true", help="without those to compare with")
    options.add_argument(
        "--others",
        default=sys.executable,
        metavar="PYTHON",
        help="an interpreter that has the others",
    )
    options.add_argument(
        "--patience",
        type=float,
        default=60.0,
        metavar="S",
        help="how long to wait for a quiet machine each time",
    )
    options.add_argument(
        "--docs", type=Path, default=DOCS, help=f"the folder whose {PAGE} is written"
    )
    given = options.parse_args()
    extent = (
        quick()
        if given.quick
        else full(() if given.alone else installed(given.others), given.patience)
    )
    sys.stdout.write(run(extent, given.docs) + "\n")


if __name__ == "__main__":
    main()
