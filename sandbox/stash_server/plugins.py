"""The plugins a server has loaded, their settings, and how their tasks are run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.stash_server import manifest
from sandbox.stash_server.database import RefusedError
from sandbox.stash_server.jobs import Job, JobError, JobQueue
from sandbox.stash_server.process import LogLine, PluginProcess
from sandbox.stash_server.sessions import COOKIE

_NOTHING_POINTS_THERE = (
    "Internal system error. Error <runtime error: invalid memory address or nil pointer "
    "dereference>"
)
_GONE_EVERY_S = 0.02


@dataclass(frozen=True)
class Place:
    """The server as plugins see it: its announced address, the folder of its configuration, their
    working folder.
    """

    host: str
    port: int
    config_folder: Path
    working_folder: Path


class Plugins:
    """Loads plugins, keeps their settings, runs their tasks one at a time."""

    def __init__(
        self, place: Callable[[], Place], issue_cookie: Callable[[], str], python: str
    ) -> None:
        self.settings: dict[str, dict[str, Any]] = {}
        self.queue = JobQueue()
        self.python = python
        self.loaded: dict[str, manifest.Plugin] = {}
        self._place = place
        self._issue_cookie = issue_cookie
        self._operations: list[PluginProcess] = []

    def load(self, folder: Path) -> manifest.Plugin:
        """Load the plugin in that folder. ``ManifestError``: Stash would not."""
        plugin = manifest.load(folder)
        self.loaded[plugin.id] = plugin
        return plugin

    def run_task(
        self,
        plugin_id: str,
        task_name: str | None,
        args: Mapping[str, Any] | None = None,
        *,
        description: str | None = None,
        python: str | None = None,
    ) -> Job:
        """Queue a task (None: the plugin with just these arguments).

        What is amiss shows when its turn comes.
        """

        def start(job: Job) -> PluginProcess:
            plugin, task = self._resolve(plugin_id, task_name)

            def report(value: float) -> None:
                job.progress.append(min(max(value, 0.0), 1.0))

            arguments = {**(task.default_args if task else {}), **(args or {})}
            try:
                return self._start(
                    plugin, task, arguments, python or self.python, job.log.append, report
                )
            except (OSError, ValueError) as error:
                raise JobError(
                    f"Error running plugin task: error running plugin: {error}"
                ) from error

        name = description or task_name or plugin_id
        return self.queue.add(f"Running plugin task: {name}", start)

    def run_operation(
        self, plugin_id: str, args: Mapping[str, Any] | None, is_gone: Callable[[], bool]
    ) -> Any:
        """Run a plugin at once, beside the queue, and return its output. Kill it when ``is_gone``
        says that nobody waits for the reply any more.

        ``RefusedError``: it gave an error.
        """
        plugin = self.loaded.get(plugin_id)
        if plugin is None:
            raise RefusedError(_NOTHING_POINTS_THERE)
        try:
            process = self._start(plugin, None, args or {}, self.python, _unheard, _unheard)
        except (OSError, ValueError) as error:
            raise RefusedError(f"error running plugin: {error}") from error
        self._operations.append(process)
        while not process.has_ended(_GONE_EVERY_S):
            if is_gone():
                process.kill()
        outcome = process.wait()
        self._operations.remove(process)
        if outcome.error is not None:
            raise RefusedError(outcome.error)
        return outcome.output

    def close(self) -> None:
        """Stop whatever runs."""
        for process in list(self._operations):
            process.kill()
        self.queue.close()

    def _resolve(
        self, plugin_id: str, task_name: str | None
    ) -> tuple[manifest.Plugin, manifest.Task | None]:
        plugin = self.loaded.get(plugin_id)
        if plugin is None:
            raise JobError(f"Error creating plugin task: no plugin with ID {plugin_id}")
        task = plugin.task(task_name) if task_name is not None else None
        if task is None and task_name is not None:
            raise JobError(
                f"Error creating plugin task: no task with name {task_name} in plugin {plugin.name}"
            )
        return plugin, task

    def _start(
        self,
        plugin: manifest.Plugin,
        task: manifest.Task | None,
        args: Mapping[str, Any],
        python: str,
        on_log: Callable[[LogLine], None],
        on_progress: Callable[[float], None],
    ) -> PluginProcess:
        command, place = plugin.command(task, python), self._place()
        if not command:
            raise ValueError("empty exec value")
        return PluginProcess(
            command,
            {"server_connection": self._connection(place, plugin), "args": dict(args)},
            folder=place.working_folder,
            environment=_environment(plugin),
            on_log=on_log,
            on_progress=on_progress,
            default_level=plugin.manifest.error_level,
        )

    def _connection(self, place: Place, plugin: manifest.Plugin) -> dict[str, Any]:
        return {
            "Scheme": "http",
            "Host": place.host,
            "Port": place.port,
            "SessionCookie": _cookie(self._issue_cookie()),
            "Dir": str(place.config_folder),
            "PluginDir": str(plugin.folder),
        }


def _cookie(value: str) -> dict[str, Any]:
    """Return a cookie with all the fields that Go writes."""
    return {
        "Name": COOKIE,
        "Value": value,
        "Quoted": False,
        "Path": "",
        "Domain": "",
        "Expires": "0001-01-01T00:00:00Z",
        "RawExpires": "",
        "MaxAge": 0,
        "Secure": False,
        "HttpOnly": False,
        "SameSite": 0,
        "Partitioned": False,
        "Raw": "",
        "Unparsed": None,
    }


def _environment(plugin: manifest.Plugin) -> dict[str, str]:
    """This process's environment; for Python plugins with the folder of plugins at the end of
    PYTHONPATH.
    """
    environment = dict(os.environ)
    if plugin.is_python:
        paths = [environment["PYTHONPATH"]] if environment.get("PYTHONPATH") else []
        environment["PYTHONPATH"] = os.pathsep.join([*paths, str(plugin.folder.parent)])
    return environment


def _unheard(_: object) -> None:
    """An operation's log and progress reach nobody."""
