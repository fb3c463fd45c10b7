"""Resolvers for each field of ``schema.graphql``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from graphql import GraphQLResolveInfo, GraphQLSchema, build_schema

from sandbox.stash_server import marker_rules, tag_rules
from sandbox.stash_server.database import Database, RefusedError, Row, integer
from sandbox.stash_server.faults import Faults
from sandbox.stash_server.filters import (
    GALLERY,
    IMAGE,
    MARKER,
    SCENE,
    TAG,
    Kind,
    fetch,
    fetch_all,
    find,
    matching,
)
from sandbox.stash_server.jobs import Job
from sandbox.stash_server.manifest import Plugin
from sandbox.stash_server.plugins import Plugins
from sandbox.stash_server.sessions import Sessions
from sandbox.stash_server.writes import bulk_update, custom_fields

Resolver = Callable[..., Any]
VERSION, LATER = "v0.30.1", "v0.31.0"


@dataclass(frozen=True)
class Context:
    """Everything that resolvers need; ``base_url`` is the address as the request named it.

    ``ui`` and settings are live. ``is_gone``: nobody waits for the reply any more.
    """

    database: Database
    plugins: Plugins
    sessions: Sessions
    faults: Faults
    ui: dict[str, Any]
    config_folder: Path
    libraries: Sequence[str]
    version: str = VERSION
    base_url: str = ""
    is_gone: Callable[[], bool] = bool


Info: TypeAlias = "GraphQLResolveInfo[Context]"


@cache
def schema(version: str = VERSION) -> GraphQLSchema:
    """Return the schema of one version with its resolvers, one for all servers."""
    files = ["schema.graphql", *(["schema-0.31.graphql"] if version >= LATER else [])]
    texts = [Path(__file__).with_name(name).read_text(encoding="utf-8") for name in files]
    built = build_schema("\n".join(texts))
    for type_name, resolvers in _RESOLVERS.items():
        fields = built.type_map[type_name].fields  # type: ignore[attr-defined]
        for name, resolver in resolvers.items():
            fields[name].resolve = resolver
    for type_name, kind in _WITH_FIELDS.items() if version >= LATER else ():
        fields = built.type_map[type_name].fields  # type: ignore[attr-defined]
        fields["custom_fields"].resolve = _custom_fields(kind)
    visual: Any = built.type_map["VisualFile"]
    visual.resolve_type = lambda row, *_: row["kind"]
    return built


def _custom_fields(kind: Kind) -> Resolver:
    return lambda row, info: custom_fields(_database(info), kind, row["id"])


def _database(info: Info) -> Database:
    return info.context.database


def _one(kind: Kind) -> Resolver:
    return lambda _, info, id=None: fetch(_database(info), kind, id) if id is not None else None


def _many(kind: Kind, result: str, criteria: str) -> Resolver:
    """Return a ``findX``: by ids, all of which must be there, or else by filter."""

    def resolve(_: object, info: Info, **given: Any) -> dict[str, Any]:
        ids = given.get("ids") or given.get(f"{kind.noun}_ids")
        if ids:
            rows = fetch_all(_database(info), kind, ids)
            return {"count": len(rows), result: rows}
        count, rows = find(_database(info), kind, given.get("filter"), given.get(criteria))
        return {"count": count, result: rows}

    return resolve


def _find_scenes(_: object, info: Info, **given: Any) -> dict[str, Any]:
    """Return scenes, and the length of the first file of each, added."""
    found: dict[str, Any] = _many(SCENE, "scenes", "scene_filter")(_, info, **given)

    def duration(*_: object) -> float:
        where = matching(SCENE, given.get("filter"), given.get("scene_filter"))
        sql = (
            "SELECT COALESCE(SUM(f.duration), 0) FROM scenes JOIN scenes_files l ON scene_id = "
            f"scenes.id JOIN files f ON f.id = l.file_id WHERE {where.sql}"
        )
        return float(_database(info).values(sql, *where.params)[0])

    return {**found, "duration": duration}


def _linked(sql: str) -> Resolver:
    """Rows tied to the row at hand; the one parameter is its id."""
    return lambda row, info, **_: _database(info).rows(sql, row["id"])


def _tags(table: str, owner_id: str) -> Resolver:
    return _linked(
        f"SELECT t.* FROM tags t JOIN {table} ON tag_id = t.id WHERE {owner_id} = ? ORDER BY "
        "t.name COLLATE NATURAL_CI"
    )


def _write(write: Callable[[Database, Mapping[str, Any]], Any], kind: Kind) -> Resolver:
    """Return a mutation that changes rows and answers with them as they are afterwards."""

    def resolve(_: object, info: Info, input: Mapping[str, Any]) -> Any:
        info.context.faults.take_lock()
        done = write(_database(info), input)
        return (
            fetch_all(_database(info), kind, done)
            if isinstance(done, list)
            else fetch(_database(info), kind, done)
        )

    return resolve


def _bulk(kind: Kind) -> Resolver:
    return _write(lambda database, fields: bulk_update(database, kind, fields), kind)


def _tag_destroy(_: object, info: Info, input: Mapping[str, Any]) -> bool:
    info.context.faults.take_lock()
    tag_rules.destroy_tag(_database(info), input["id"])
    return True


def _markers_destroy(_: object, info: Info, **given: Any) -> bool:
    info.context.faults.take_lock()
    marker_rules.destroy_markers(_database(info), given.get("ids") or [given.get("id")])
    return True


def _generate(_: object, info: Info, input: Mapping[str, Any]) -> str:
    folder = info.context.config_folder / "generated" / "markers"
    marker_rules.make_previews(_database(info), input, folder)
    return str(len(info.context.plugins.queue.jobs) + 1)


def _scene_paths(row: Row, info: Info) -> dict[str, str]:
    sql = (
        "SELECT value FROM fingerprints JOIN scenes_files l USING (file_id) WHERE scene_id = ? "
        "ORDER BY l.rowid LIMIT 1"
    )
    hashes, scenes = _database(info).values(sql, row["id"]), f"{info.context.base_url}/scene"
    scene, hashed = f"{scenes}/{row['id']}", f"{scenes}/{hashes[0] if hashes else ''}"
    key = info.context.sessions.api_key
    return {
        "stream": f"{scene}/stream" + (f"?apikey={key}" if key else ""),
        "screenshot": f"{scene}/screenshot",
        "preview": f"{scene}/preview",
        "webp": f"{scene}/webp",
        "vtt": f"{hashed}_thumbs.vtt",
        "sprite": f"{hashed}_sprite.jpg",
    }


def _image_paths(row: Row, info: Info) -> dict[str, str]:
    image = f"{info.context.base_url}/image/{row['id']}"
    return {"image": f"{image}/image", "thumbnail": f"{image}/thumbnail", "preview": ""}


def _zip_file(row: Row, info: Info) -> Row | None:
    return _database(info).row("SELECT * FROM files WHERE id = ?", row["zip_file_id"])


def _fingerprint(row: Row, info: Info, type: str) -> str | None:
    values = _database(info).values(
        "SELECT value FROM fingerprints WHERE file_id = ? AND type = ?", row["id"], type
    )
    return values[0] if values else None


def _configuration(_: object, info: Info) -> dict[str, Any]:
    context = info.context
    general = {
        "apiKey": context.sessions.api_key,
        "username": context.sessions.credentials.user if context.sessions.credentials else "",
        "maxSessionAge": int(context.sessions.idle_s),
        "parallelTasks": 1,
        "pluginsPath": str(context.config_folder / "plugins"),
        "generatedPath": str(context.config_folder / "generated"),
        "videoFileNamingAlgorithm": "OSHASH",
        "pythonPath": context.plugins.python,
        "ffmpegPath": "",
        "ffprobePath": "",
        "stashes": [
            {"path": path, "excludeVideo": False, "excludeImage": False}
            for path in context.libraries
        ],
    }
    return {"general": general, "ui": context.ui}


def _plugin_settings(_: object, info: Info, include: list[str] | None = None) -> dict[str, Any]:
    settings = info.context.plugins.settings
    return {name: settings[name] for name in include if settings.get(name)} if include else settings


def _configure_plugin(_: object, info: Info, plugin_id: str, input: Any) -> dict[str, Any]:
    settings = _mapping(input)
    info.context.plugins.settings[plugin_id] = settings
    return settings


def _configure_ui(_: object, info: Info, input: Any = None, partial: Any = None) -> dict[str, Any]:
    ui = info.context.ui
    if input is not None:
        ui.clear()
        ui.update(_mapping(input))
    ui.update(_mapping(partial or {}))
    return ui


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RefusedError(f"{type(value).__name__} is not a map")
    return value


def _system_status(_: object, info: Info) -> dict[str, Any]:
    folder = info.context.config_folder
    return {
        "status": "OK",
        "appSchema": 75,
        "databaseSchema": 75,
        "databasePath": str(folder / "stash.sqlite"),
        "configPath": str(folder / "config.yaml"),
        "os": "linux",
        "workingDir": str(folder),
        "homeDir": str(folder),
        "ffmpegPath": None,
        "ffprobePath": None,
    }


def _plugin(plugin: Plugin) -> dict[str, Any]:
    texts = {name: getattr(plugin.manifest, name) for name in ("description", "url", "version")}
    settings = [
        {
            "name": key,
            "display_name": setting.display_name,
            "description": setting.description,
            "type": setting.type,
        }
        for key, setting in sorted(plugin.manifest.settings.items())
    ]
    return {
        "id": plugin.id,
        "name": plugin.name,
        "enabled": True,
        "tasks": plugin.manifest.tasks,
        "settings": settings,
        **texts,
    }


def _job(job: Job | None) -> dict[str, Any] | None:
    """Return a job as the server shows it: progress reads 0 until some is reported, times are null
    until they are.
    """
    if job is None:
        return None
    return {
        "id": job.id,
        "status": job.status.value,
        "subTasks": None,
        "description": job.description,
        "progress": job.progress[-1] if job.progress else 0.0,
        "addTime": job.added,
        "startTime": job.started or None,
        "endTime": job.ended or None,
        "error": job.failure,
    }


def _job_queue(_: object, info: Info) -> list[Any] | None:
    return [_job(job) for job in info.context.plugins.queue.waiting()] or None


def _find_job(_: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any] | None:
    return _job(info.context.plugins.queue.find(str(integer(input["id"]))))


def _stop_job(_: object, info: Info, job_id: str) -> bool:
    job = info.context.plugins.queue.find(job_id)
    if job is not None:
        job.stop()
    return True


def _run_task(
    _: object,
    info: Info,
    plugin_id: str,
    task_name: str | None = None,
    description: str | None = None,
    args_map: Any = None,
) -> str:
    return info.context.plugins.run_task(
        plugin_id, task_name, _mapping(args_map or {}), description=description
    ).id


def _run_operation(_: object, info: Info, plugin_id: str, args: Any = None) -> Awaitable[Any]:
    context = info.context
    return asyncio.to_thread(
        context.plugins.run_operation, plugin_id, _mapping(args or {}), context.is_gone
    )


def _count(sql: str) -> Resolver:
    """Return the number of rows tied to the tag itself; ``depth`` is not counted."""
    return lambda row, info, **_: _database(info).values(sql, *[row["id"]] * sql.count("?"))[0]


_MARKERS_WITH = (
    "SELECT count(*) FROM scene_markers WHERE primary_tag_id = ?"
    " OR id IN (SELECT scene_marker_id FROM scene_markers_tags WHERE tag_id = ?)"
)
_FILES = (
    "SELECT f.* FROM files f JOIN {table} l ON file_id = f.id WHERE {owner} = ? ORDER BY l.rowid"
)
_COUNTED = {"scene": "scenes", "image": "images", "gallery": "galleries"}
_FINGERPRINTS = "SELECT type, value FROM fingerprints WHERE file_id = ?"
_FILE: dict[str, Resolver] = {
    "basename": lambda row, _: PurePath(row["path"]).name,
    "zip_file": _zip_file,
    "fingerprint": _fingerprint,
    "fingerprints": _linked(_FINGERPRINTS),
}
_WITH_FIELDS = {"Scene": SCENE, "Image": IMAGE}
_RESOLVERS: dict[str, dict[str, Resolver]] = {
    "Query": {
        "findTag": _one(TAG),
        "findTags": _many(TAG, "tags", "tag_filter"),
        "findScene": _one(SCENE),
        "findScenes": _find_scenes,
        "findSceneMarkers": _many(MARKER, "scene_markers", "scene_marker_filter"),
        "findImage": _one(IMAGE),
        "findImages": _many(IMAGE, "images", "image_filter"),
        "findGallery": _one(GALLERY),
        "findGalleries": _many(GALLERY, "galleries", "gallery_filter"),
        "plugins": lambda _, info: [
            _plugin(plugin) for plugin in info.context.plugins.loaded.values()
        ],
        "configuration": _configuration,
        "systemStatus": _system_status,
        "version": lambda _, info: {
            "version": info.context.version,
            "hash": "sandbox",
            "build_time": "2026-01-11 07:00:00",
        },
        "jobQueue": _job_queue,
        "findJob": _find_job,
    },
    "Mutation": {
        "tagCreate": _write(tag_rules.create_tag, TAG),
        "tagUpdate": _write(tag_rules.update_tag, TAG),
        "bulkTagUpdate": _write(tag_rules.update_tags, TAG),
        "tagDestroy": _tag_destroy,
        "bulkSceneUpdate": _bulk(SCENE),
        "bulkImageUpdate": _bulk(IMAGE),
        "bulkGalleryUpdate": _bulk(GALLERY),
        "sceneMarkerCreate": _write(marker_rules.create_marker, MARKER),
        "sceneMarkerUpdate": _write(marker_rules.update_marker, MARKER),
        "bulkSceneMarkerUpdate": _write(marker_rules.update_markers, MARKER),
        "sceneMarkerDestroy": _markers_destroy,
        "sceneMarkersDestroy": _markers_destroy,
        "metadataGenerate": _generate,
        "configurePlugin": _configure_plugin,
        "configureUI": _configure_ui,
        "runPluginTask": _run_task,
        "runPluginOperation": _run_operation,
        "stopJob": _stop_job,
    },
    "ConfigResult": {"plugins": _plugin_settings},
    "Tag": {
        "aliases": lambda row, info: _database(info).values(
            "SELECT alias FROM tag_aliases WHERE tag_id = ?", row["id"]
        ),
        "parents": _linked(
            "SELECT t.* FROM tags t JOIN tags_relations ON parent_id = t.id WHERE child_id = ? "
            "ORDER BY t.name"
        ),
        "children": _linked(
            "SELECT t.* FROM tags t JOIN tags_relations ON child_id = t.id WHERE parent_id = ? "
            "ORDER BY t.name"
        ),
        "scene_marker_count": _count(_MARKERS_WITH),
        **{
            f"{noun}_count": _count(f"SELECT count(*) FROM {table}_tags WHERE tag_id = ?")
            for noun, table in _COUNTED.items()
        },
        **{f"{noun}_count": lambda *_, **__: 0 for noun in ("performer", "studio", "group")},
    },
    "Scene": {
        "files": _linked(_FILES.format(table="scenes_files", owner="scene_id")),
        "paths": _scene_paths,
        "scene_markers": _linked(
            "SELECT * FROM scene_markers WHERE scene_id = ? ORDER BY seconds, id"
        ),
        "tags": _tags("scenes_tags", "scene_id"),
    },
    "SceneMarker": {
        "scene": lambda row, info: fetch(_database(info), SCENE, row["scene_id"]),
        "primary_tag": lambda row, info: fetch(_database(info), TAG, row["primary_tag_id"]),
        "tags": _tags("scene_markers_tags", "scene_marker_id"),
    },
    "Image": {
        "visual_files": _linked(_FILES.format(table="images_files", owner="image_id")),
        "paths": _image_paths,
        "galleries": _linked(
            "SELECT g.* FROM galleries g JOIN galleries_images ON gallery_id = g.id WHERE image_id "
            "= ? ORDER BY g.id"
        ),
        "tags": _tags("images_tags", "image_id"),
    },
    "Gallery": {
        "files": _linked(_FILES.format(table="galleries_files", owner="gallery_id")),
        "folder": lambda row, info: {"path": row["folder"]} if row["folder"] is not None else None,
        "image_count": lambda row, info: len(
            _database(info).values(
                "SELECT image_id FROM galleries_images WHERE gallery_id = ?", row["id"]
            )
        ),
        "tags": _tags("galleries_tags", "gallery_id"),
    },
    "VideoFile": _FILE,
    "ImageFile": _FILE,
    **{name: {"basename": _FILE["basename"]} for name in ("BasicFile", "GalleryFile")},
}
