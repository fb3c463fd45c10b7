"""Runs one endpoint until it is interrupted: ``python -m sandbox.vlm --profile lmstudio --port 1234``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys

from sandbox.vlm import MODEL, Behaviour, Profile, SandboxVLM


async def _serve(behaviour: Behaviour, port: int) -> None:
    async with SandboxVLM(behaviour, port=port) as vlm:
        sys.stdout.write(f"{vlm.url} has the model {behaviour.models[0]} and the ways of {behaviour.profile}\n")
        sys.stdout.flush()
        await _interrupted()


async def _interrupted() -> None:
    """Returns when the process is told to end, also where interrupts are ignored, as in the background of a shell."""
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: there a KeyboardInterrupt ends it
            asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.vlm", description=__doc__)
    parser.add_argument("--profile", choices=list(Profile), default=Profile.PLAIN, type=Profile)
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--key", default="", help="the API key to ask for")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that an answer takes")
    given = parser.parse_args()
    behaviour = Behaviour(models=(given.model,), api_key=given.key, profile=given.profile, latency_s=given.latency)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(behaviour, given.port))


if __name__ == "__main__":
    main()
