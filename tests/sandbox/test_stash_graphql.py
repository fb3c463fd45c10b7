"""The sandbox's Stash takes and refuses requests as a running v0.30.1 does: compared by hand."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from graphql import DocumentNode, OperationDefinitionNode, parse, print_ast, validate

from sandbox.stash import Credentials, SandboxStash
from sandbox.stash_client import ask
from sandbox.stash_server.resolvers import schema
from vlm_engine.testing import running

# The documents that the plugin may send, each of them valid on Stash v0.30.
OPERATIONS = """
query Handshake($ids: [ID!]) {
  version { version hash build_time }
  systemStatus {
    status appSchema databaseSchema databasePath configPath os workingDir homeDir
    ffmpegPath ffprobePath
  }
  configuration {
    general {
      apiKey parallelTasks pluginsPath generatedPath ffmpegPath ffprobePath pythonPath
      maxSessionAge username
    }
    ui
    plugins(include: $ids)
  }
}
query HandshakeOld($ids: [ID!]) {
  version { version hash }
  systemStatus { status appSchema os workingDir homeDir }
  configuration {
    general { apiKey generatedPath pythonPath maxSessionAge }
    ui
    plugins(include: $ids)
  }
}
query Features {
  __type(name: "SceneMarkerCreateInput") {
    inputFields { name }
  }
}
query FindTags($f: FindFilterType, $tf: TagFilterType) {
  findTags(filter: $f, tag_filter: $tf) {
    count
    tags {
      id name aliases ignore_auto_tag parents { id }
      children { id }
    }
  }
}
query FindTagsByIds($ids: [ID!]) {
  findTags(ids: $ids) {
    tags { id name }
  }
}
query FindTag($id: ID!) {
  findTag(id: $id) {
    id name aliases description ignore_auto_tag parents { id name }
  }
}
mutation TagCreate($i: TagCreateInput!) {
  tagCreate(input: $i) { id name }
}
mutation TagUpdate($i: TagUpdateInput!) {
  tagUpdate(input: $i) { id }
}
mutation BulkTagUpdate($i: BulkTagUpdateInput!) {
  bulkTagUpdate(input: $i) { id }
}
query SceneIds($f: FindFilterType, $sf: SceneFilterType) {
  findScenes(filter: $f, scene_filter: $sf) {
    count scenes { id }
  }
}
query Scenes($ids: [ID!]) {
  findScenes(ids: $ids) {
    scenes {
      id title tags { id name }
      files {
        id path size mod_time duration frame_rate width height video_codec format bit_rate
        fingerprints { type value }
      }
      scene_markers {
        id title seconds primary_tag { id }
        tags { id }
      }
      paths { stream vtt sprite screenshot }
    }
  }
}
query ScenesEnd($ids: [ID!]) {
  findScenes(ids: $ids) {
    scenes {
      id scene_markers { id seconds end_seconds }
    }
  }
}
mutation BulkScene($i: BulkSceneUpdateInput!) {
  bulkSceneUpdate(input: $i) { id }
}
mutation MarkerCreate($i: SceneMarkerCreateInput!) {
  sceneMarkerCreate(input: $i) { id }
}
mutation MarkerUpdate($i: SceneMarkerUpdateInput!) {
  sceneMarkerUpdate(input: $i) { id }
}
mutation MarkerDestroy($id: ID!) {
  sceneMarkerDestroy(id: $id)
}
mutation MarkersDestroy($ids: [ID!]!) {
  sceneMarkersDestroy(ids: $ids)
}
mutation BulkMarker($i: BulkSceneMarkerUpdateInput!) {
  bulkSceneMarkerUpdate(input: $i) { id }
}
query Markers($mf: SceneMarkerFilterType, $f: FindFilterType) {
  findSceneMarkers(scene_marker_filter: $mf, filter: $f) {
    count
    scene_markers {
      id title seconds scene { id }
      primary_tag { id name }
      tags { id }
    }
  }
}
query MarkersByScene($sid: ID!) {
  findSceneMarkers(
    scene_marker_filter: { scenes: { value: [$sid], modifier: INCLUDES } }
    filter: { per_page: -1 }
  ) {
    scene_markers { id }
  }
}
query Images($f: FindFilterType, $imf: ImageFilterType) {
  findImages(filter: $f, image_filter: $imf) {
    count
    images {
      id title tags { id }
      galleries { id }
      visual_files {
        __typename
        ... on ImageFile {
          id path width height format fingerprints { type value }
        }
        ... on VideoFile { id path width height duration frame_rate }
      }
      paths { image preview thumbnail }
    }
  }
}
query ImagesZip($f: FindFilterType) {
  findImages(filter: $f) {
    images {
      visual_files {
        ... on ImageFile {
          zip_file { id path }
        }
        ... on VideoFile {
          zip_file { id path }
        }
      }
    }
  }
}
query ImagesZipOld($f: FindFilterType) {
  findImages(filter: $f) {
    images {
      visual_files {
        ... on ImageFile { zip_file_id }
        ... on VideoFile { zip_file_id }
      }
    }
  }
}
mutation BulkImage($i: BulkImageUpdateInput!) {
  bulkImageUpdate(input: $i) { id }
}
query Galleries($gf: GalleryFilterType, $f: FindFilterType) {
  findGalleries(gallery_filter: $gf, filter: $f) {
    count
    galleries {
      id title image_count tags { id }
    }
  }
}
mutation BulkGallery($i: BulkGalleryUpdateInput!) {
  bulkGalleryUpdate(input: $i) { id }
}
query Jobs {
  jobQueue { id status subTasks description progress startTime endTime addTime }
}
query JobsErr {
  jobQueue { id error }
  findJob(input: { id: "1" }) { id status error }
}
mutation StopJob($id: ID!) {
  stopJob(job_id: $id)
}
mutation RunTask($p: ID!, $t: String, $d: String, $a: Map) {
  runPluginTask(plugin_id: $p, task_name: $t, description: $d, args_map: $a)
}
mutation RunOp($p: ID!, $a: Map) {
  runPluginOperation(plugin_id: $p, args: $a)
}
mutation Cfg($p: ID!, $i: Map!) {
  configurePlugin(plugin_id: $p, input: $i)
}
"""
DEFINITIONS = [
    node for node in parse(OPERATIONS).definitions if isinstance(node, OperationDefinitionNode)
]
BY_NAME = {node.name.value: node for node in DEFINITIONS if node.name}


VERSION = "{ version { version } }"
KEY = "whistle-key"
TWO = "query A { version { version } } query B { version { hash } }"


@pytest.mark.parametrize("name", BY_NAME)
def test_every_operation_of_the_plugin_is_in_the_schema(name):
    assert validate(schema(), DocumentNode(definitions=(BY_NAME[name],))) == []


@pytest.mark.parametrize(
    "document",
    [
        "{ nope }",
        "{ findTags {",
        "{ findScenes(filter: {bogus: 1}) { count } }",
        "mutation { sceneMarkerUpdate(input: {id: 1, tag_ids: {ids: [1], mode: ADD}}) { id } }",
        "query A($unused: Int) { version { version } }",
        "",
    ],
)
def test_an_invalid_document_is_not_executed(stash, document):
    reply = ask(stash.url, document)
    assert (reply.status, reply.content_type, reply.data) == (422, "application/json", None)
    code = reply.body["errors"][0]["extensions"]["code"]
    assert code in ("GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED")
    other = ask(stash.url, document, headers={"Accept": "*/*"})
    assert (other.status, other.content_type) == (400, "application/graphql-response+json")
    assert stash.requests.exchanges == []


@pytest.mark.parametrize(
    "variables",
    [{"page": "first"}, {"page": 1.5}, {"bogus": 1}, {"direction": "UP"}, [1, 2]],
)
def test_wrong_variables_get_422(stash, variables):
    document = "query ($f: FindFilterType) { findTags(filter: $f) { count } }"
    reply = ask(stash.url, document, {"f": variables})
    assert (reply.status, reply.data) == (422, None)


def test_an_operation_is_chosen_by_its_name(stash):
    lost = ask(stash.url, TWO, operationName="C")
    assert (lost.status, lost.messages) == (422, {"": "operation C not found"})
    assert ask(stash.url, TWO).status == 422
    assert ask(stash.url, TWO, operationName="B").data == {"version": {"hash": "sandbox"}}
    assert ask(stash.url, "query ($id: ID!) { findTag(id: $id) { id } }").status == 422


def test_a_refusal_comes_with_200_and_its_path(stash):
    reply = ask(stash.url, '{ findTag(id: "first") { id } }')
    message = 'strconv.Atoi: parsing "first": invalid syntax'
    errors = [{"message": message, "path": ["findTag"]}]
    assert (reply.status, reply.body) == (200, {"data": {"findTag": None}, "errors": errors})


def test_the_handshake_tells_features_and_settings(stash):
    stash.ui["vrTag"] = "VR"
    configure = 'mutation ($i: Map!) { configurePlugin(plugin_id: "referee", input: $i) }'
    ask(stash.url, configure, {"i": {"a": 1, "b": True}})
    ask(stash.url, configure, {"i": {"c": "x"}})  # replaces them all
    data = ask(stash.url, print_ast(BY_NAME["Handshake"]), {"ids": ["referee", "other"]}).data
    assert data["version"]["version"] == "v0.30.1"
    assert data["configuration"]["ui"] == {"vrTag": "VR"}
    assert data["configuration"]["plugins"] == {"referee": {"c": "x"}}
    refused = ask(stash.url, configure, {"i": [1]})
    assert refused.messages == {"configurePlugin": "list is not a map"}
    features = ask(stash.url, print_ast(BY_NAME["Features"])).data["__type"]["inputFields"]
    assert {"name": "end_seconds"} in features


def test_every_alias_of_a_mutation_counts_and_fails_alone(stash):
    stash.faults.locked_mutations = 1
    create = '{0}: tagCreate(input: {{name: "{0}"}}) {{ name }}'
    reply = ask(stash.url, f"mutation {{ {create.format('Foul')} {create.format('Goal')} }}")
    assert (reply.status, reply.data) == (200, {"Foul": None, "Goal": {"name": "Goal"}})
    assert "database is locked" in reply.messages["Foul"]
    assert (stash.requests.mutations, stash.requests.writes) == ({"tagCreate": 2}, 1)
    stash.faults.failing_requests = 1
    assert [ask(stash.url, VERSION).status for _ in range(2)] == [500, 200]


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def status(stash: SandboxStash, cookie: str = "", **headers: str) -> int:
    cookies = {"Cookie": cookie} if cookie else {}
    return ask(stash.url, VERSION, headers={**cookies, **headers}).status


def test_only_a_good_cookie_or_key_lets_in():
    clock = Clock()
    credentials = Credentials("referee", "red card")
    server = SandboxStash(credentials=credentials, api_key=KEY, session_idle_s=60, clock=clock)
    with running(server) as stash:
        login = {"username": "referee", "password": "yellow card"}
        assert requests.post(f"{stash.url}/login", data=login, timeout=10).status_code == 401
        login["password"] = "red card"
        cookies = requests.post(f"{stash.url}/login", data=login, timeout=10).cookies
        first = f"session={cookies['session']}"
        assert [status(stash), status(stash, "session=made up")] == [401, 401]
        assert [status(stash, f"{first}; session=x"), status(stash, "session=x; " + first)] == [
            200,
            401,
        ]
        assert [status(stash, ApiKey=KEY), status(stash, first, ApiKey="wrong")] == [200, 401]
        clock.now_s = 50
        renewed = ask(stash.url, VERSION, headers={"Cookie": first}).cookie
        clock.now_s = 70
        assert [status(stash, first), status(stash, f"session={renewed}")] == [401, 200]
        stash.sessions.expire_all()
        assert status(stash, f"session={renewed}") == 401
        picture: dict[str, Any] = {"url": f"{stash.url}/image/1/image", "allow_redirects": False}
        away = requests.get(**picture, timeout=10)
        assert (away.status_code, away.headers["Location"]) == (
            302,
            "/login?returnURL=/image/1/image",
        )
        assert requests.get(**picture, headers={"ApiKey": KEY}, timeout=10).status_code == 404


def test_without_credentials_a_key_is_refused(stash):
    made_up = [status(stash), status(stash, "session=made up"), status(stash, ApiKey="any")]
    assert made_up == [200, 200, 401]
