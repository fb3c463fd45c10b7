"""Servers to hold the client to: sandbox endpoints with the ways of known servers, and those
servers themselves.

A real server is started from the user's own program, on 127.0.0.1 and a free port, with a tiny
model of ``sandbox.tiny_model`` or before a sandbox endpoint. Nothing here builds or ships one. ::

    with LlamaCpp(Path("/usr/local/bin/llama-server"), folder) as server:
        ...ask server.subject.url...
        server.kill(); server.start()
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import requests

from sandbox import tiny_checkpoint, tiny_model
from vlm_engine.testing import HOST, MODEL

KEY = "sk-of-the-league"
_STEP_S = 0.1


@dataclass(frozen=True)
class Subject:
    """A server, and what is expected of it; None where it is not expected to tell.

    ``asks_for_key``: it wants ``KEY``. ``knows_every_model``: it answers whatever model it is asked
    for. ``tells_confidence``: it sends log-probabilities of use. ``sees``: what it answers is true;
    else only its form is right. ``starts_in_s``: the longest that it may take to start.
    """

    url: str
    model: str
    server: str
    asks_for_key: bool = True
    knows_every_model: bool = False
    tells_confidence: bool = True
    sees: bool = True
    slots: int | None = None
    context_tokens: int | None = None
    vision: bool | None = True
    finishes_abandoned: bool = False
    starts_in_s: float = 10.0

    @property
    def key(self) -> str:
        """The key to send."""
        return KEY if self.asks_for_key else ""


class Server(Protocol):
    """A subject that can be stopped and started."""

    @property
    def subject(self) -> Subject:
        """The address and the traits of the server."""

    def kill(self) -> None:
        """End it at once, with everything that is under way."""

    def start(self) -> None:
        """Start it, on the same port, and return when it answers."""


class Program:
    """A server that is a process of its own.

    Raises ``RuntimeError`` with the end of its log when it does not start.
    """

    def __init__(
        self,
        subject: Subject,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.subject = subject
        self._command = command
        self._environment = dict(environment or {})
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return when it lists its models."""
        environment = {
            name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
        }
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env={**environment, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + self.subject.starts_in_s
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                end = (self._folder / "log").read_text("utf-8", "replace")[-2000:]
                self.kill()
                raise RuntimeError(f"{self._command[0]} did not start:\n{end}")
            time.sleep(_STEP_S)

    def kill(self) -> None:
        """End it at once, with everything that is under way."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # with its workers
            self._process.wait(30)
            self._process = None

    def _answers(self) -> bool:
        try:
            address = f"{self.subject.url}/models"
            return (
                requests.get(
                    address, headers={"Authorization": f"Bearer {KEY}"}, timeout=5
                ).status_code
                == 200
            )
        except requests.RequestException:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


class LlamaCpp(Program):
    """llama.cpp's ``llama-server`` with the tiny model; without ``vision``, without the half that
    sees.
    """

    def __init__(
        self,
        program: Path,
        folder: Path,
        *,
        vision: bool = True,
        slots: int = 3,
        context_tokens: int = 4096,
    ) -> None:
        model, projector = tiny_model.write_gguf(folder)
        port = free_port()
        sizes = ["-np", str(slots), "-c", str(slots * context_tokens), "--threads", "2"]
        seeing = ["--mmproj", str(projector)] if vision else []
        where = ["--host", HOST, "--port", str(port), "--api-key", KEY]
        command = [
            str(program),
            "-m",
            str(model),
            *seeing,
            "--jinja",
            "--alias",
            "tiny",
            *sizes,
            *where,
        ]
        subject = Subject(
            url=f"http://{HOST}:{port}/v1",
            model="tiny",
            server="llama.cpp",
            knows_every_model=True,
            sees=False,
            slots=slots,
            context_tokens=context_tokens,
            vision=vision,
            starts_in_s=60,
        )
        super().__init__(subject, command, folder)


class VLLM(Program):
    """``vllm serve`` on the processor with the tiny model."""

    def __init__(self, program: Path, folder: Path, *, context_tokens: int = 4096) -> None:
        model = tiny_checkpoint.write(folder / "tiny")
        port = free_port()
        sizes = [
            "--max-model-len",
            str(context_tokens),
            "--max-num-seqs",
            "3",
            "--dtype",
            "float32",
            "--enforce-eager",
        ]
        where = ["--host", HOST, "--port", str(port), "--api-key", KEY]
        command = [str(program), "serve", str(model), "--served-model-name", "tiny", *sizes, *where]
        quiet = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
        subject = Subject(
            url=f"http://{HOST}:{port}/v1",
            model="tiny",
            server="vLLM",
            sees=False,
            context_tokens=context_tokens,
            vision=None,
            starts_in_s=400,
        )
        super().__init__(subject, command, folder, quiet)


class LiteLLM(Program):
    """LiteLLM's proxy before the endpoint at ``behind``, which asks for ``KEY``."""

    def __init__(self, program: Path, folder: Path, behind: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        route = {"model": f"openai/{MODEL}", "api_base": behind, "api_key": KEY, "max_retries": 0}
        config = {
            "model_list": [{"model_name": MODEL, "litellm_params": route}],
            "general_settings": {"master_key": KEY},
            "litellm_settings": {"num_retries": 0},
        }
        settings = folder / "config.json"  # JSON is YAML, too
        settings.write_text(json.dumps(config), encoding="utf-8")
        command = [str(program), "--config", str(settings), "--host", HOST, "--port", str(port)]
        subject = Subject(
            url=f"http://{HOST}:{port}/v1",
            model=MODEL,
            server="LiteLLM",
            vision=None,
            finishes_abandoned=True,
            starts_in_s=180,
        )
        super().__init__(subject, command, folder)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])
