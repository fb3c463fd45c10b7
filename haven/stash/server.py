"""The handshake with Stash: its version, its abilities and the user's settings; and its queue of
jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from haven.stash.errors import StashVersionError
from haven.stash.reply import object_in
from haven.stash.transport import StashClient
from haven.stash.values import ServerInfo

OLDEST = "v0.28.0"
OLDEST_WITH_IMAGES = "v0.29.0"

_HANDSHAKE = """query Handshake($ids: [ID!]) {
  version { version }
  systemStatus { status workingDir }
  configuration {
    general { apiKey pluginsPath generatedPath maxSessionAge stashes { path } }
    plugins(include: $ids)
    ui
  }
  marker: __type(name: "SceneMarkerCreateInput") { inputFields { name } }
  scene: __type(name: "SceneUpdateInput") { inputFields { name } }
  image: __type(name: "ImageUpdateInput") { inputFields { name } }
}"""
_IMAGES = """query ImageSupport {
  file: __type(name: "ImageFile") { fields { name } } version { version }
}"""
_PING = "query Ping { version { version } }"


def handshake(client: StashClient, plugin_id: str) -> ServerInfo:
    """Return Stash's version and the user's settings for ``plugin_id``, which are needed before a
    handler can exist.

    Adopts the user's API key, if there is one, so that a long task outlives its session. Raises
    ``StashVersionError`` for a Stash that is too old or not set up, and the errors of the
    connection.
    """
    data = client.ask(_HANDSHAKE, {"ids": [plugin_id]})
    version = str(data["version"].get("version") or "of unknown version")
    _check(data, version)
    client.has_custom_fields = all(
        "custom_fields" in _input_fields(data, kind) for kind in ("scene", "image")
    )
    configuration = data["configuration"]
    general = configuration["general"]
    if general.get("apiKey"):
        client.use_api_key(str(general["apiKey"]))
    return ServerInfo(
        version=version,
        work_dir=str(data["systemStatus"].get("workingDir") or ""),
        plugins_path=str(general.get("pluginsPath") or ""),
        generated_path=str(general.get("generatedPath") or ""),
        max_session_age_s=int(general.get("maxSessionAge") or 0),
        settings=object_in(configuration.get("plugins"), plugin_id, "configuration.plugins"),
        ui=dict(configuration.get("ui") or {}),
        libraries=tuple(str(each["path"]) for each in general["stashes"]),
        has_api_key=bool(general.get("apiKey")),
    )


def ping(client: StashClient) -> None:
    """Send a request that only keeps the session alive."""
    client.ask(_PING)


def require_images(client: StashClient) -> None:
    """Raise ``StashVersionError`` if this Stash does not tell which zip file an image is in."""
    data = client.ask(_IMAGES)
    if "zip_file" not in {field["name"] for field in (data.get("file") or {}).get("fields") or []}:
        version = data["version"].get("version") or "of unknown version"
        raise StashVersionError(
            f"this Stash ({version}) is too old for images: Stash {OLDEST_WITH_IMAGES} or later "
            "is needed"
        )


def _check(data: dict[str, Any], version: str) -> None:
    status = data["systemStatus"]["status"]
    if status != "OK":
        raise StashVersionError(
            f"Stash is not ready ({status}): finish its set-up or migration in the browser first"
        )
    if "end_seconds" not in _input_fields(data, "marker"):
        raise StashVersionError(
            f"this Stash ({version}) knows no end time of markers: Stash {OLDEST} or later "
            "is needed"
        )


def _input_fields(data: dict[str, Any], alias: str) -> set[str]:
    """Return the names of the fields of an input type; none if Stash has no such type."""
    return {str(field["name"]) for field in (data.get(alias) or {}).get("inputFields") or ()}


_QUEUE = "query Jobs { jobQueue { id status } }"
_RUN = """mutation QueueTask($plugin: ID!, $task: String!, $args: Map) {
  runPluginTask(plugin_id: $plugin, task_name: $task, args_map: $args)
}"""


def others_wait(client: StashClient) -> bool:
    """Return True if a job in Stash's queue has not begun. Stash runs one at a time."""
    return any(job["status"] == "READY" for job in client.ask(_QUEUE)["jobQueue"] or ())


def queue_task(client: StashClient, plugin_id: str, task: str, args: Mapping[str, str]) -> None:
    """Queue a task of a plugin, with ``args`` beside those of its manifest. Sent once: twice would
    queue it twice.
    """
    reply = client.ask_once(_RUN, {"plugin": plugin_id, "task": task, "args": dict(args)})
    for error in reply.errors:
        raise error
