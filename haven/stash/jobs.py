"""Stash's queue of jobs, of which one runs at a time."""

from __future__ import annotations

from collections.abc import Mapping

from haven.stash.transport import StashClient

_QUEUE = "query Jobs { jobQueue { id status } }"
_RUN = """mutation QueueTask($plugin: ID!, $task: String!, $args: Map) {
  runPluginTask(plugin_id: $plugin, task_name: $task, args_map: $args)
}"""


def others_wait(client: StashClient) -> bool:
    """Whether a job is in the queue that has not begun."""
    return any(job["status"] == "READY" for job in client.ask(_QUEUE)["jobQueue"] or ())


def queue_task(client: StashClient, plugin_id: str, task: str, args: Mapping[str, str]) -> None:
    """Queues a task of a plugin, with ``args`` beside those that its manifest gives. Sent once: twice would queue it twice."""
    reply = client.ask_once(_RUN, {"plugin": plugin_id, "task": task, "args": dict(args)})
    for error in reply.errors:
        raise error.as_error()
