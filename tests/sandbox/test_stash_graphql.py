"""What the sandbox's Stash answers to valid and invalid documents: compared by hand with a running v0.30.1."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from graphql import DocumentNode, OperationDefinitionNode, parse, print_ast, validate

from sandbox.stash import Exchange, SandboxStash
from sandbox.stash_client import ask
from sandbox.stash_server.resolvers import schema
from vlm_engine.testing.threads import running

# The documents that the plugin may send, each of them valid on Stash v0.30.
OPERATIONS = """
query Handshake($ids: [ID!]) {
  version { version hash build_time }
  systemStatus {
    status appSchema databaseSchema databasePath configPath os workingDir homeDir ffmpegPath ffprobePath
  }
  configuration {
    general {
      apiKey parallelTasks pluginsPath generatedPath ffmpegPath ffprobePath pythonPath maxSessionAge username
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


@pytest.fixture
def stash() -> Iterator[SandboxStash]:
    with running(SandboxStash()) as server:
        yield server


@pytest.mark.parametrize("name", BY_NAME)
def test_every_operation_of_the_plugin_is_in_the_schema(name: str) -> None:
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
def test_an_invalid_document_gets_422_or_400_by_what_is_accepted_and_is_not_executed(
    stash: SandboxStash, document: str
) -> None:
    reply = ask(stash.url, document)
    assert (reply.status, reply.content_type) == (422, "application/json")
    assert reply.body["errors"][0]["extensions"]["code"] in (
        "GRAPHQL_VALIDATION_FAILED",
        "GRAPHQL_PARSE_FAILED",
    )
    assert reply.data is None
    other = ask(stash.url, document, headers={"Accept": "*/*"})
    assert (other.status, other.content_type) == (400, "application/graphql-response+json")
    assert stash.requests.exchanges == []


@pytest.mark.parametrize(
    "variables",
    [
        {"f": {"page": "first"}},
        {"f": {"page": 1.5}},
        {"f": {"bogus": 1}},
        {"f": {"direction": "UP"}},
        {"f": [1, 2]},
    ],
)
def test_wrong_variables_get_422(stash: SandboxStash, variables: dict[str, object]) -> None:
    reply = ask(
        stash.url, "query ($f: FindFilterType) { findTags(filter: $f) { count } }", variables
    )
    assert (reply.status, reply.data) == (422, None)


def test_a_missing_variable_gets_422(stash: SandboxStash) -> None:
    assert ask(stash.url, "query ($id: ID!) { findTag(id: $id) { id } }").status == 422


def test_an_operation_that_is_not_in_the_document_gets_422(stash: SandboxStash) -> None:
    document = "query A { version { version } } query B { version { hash } }"
    assert ask(stash.url, document, operationName="C").messages == {"": "operation C not found"}
    assert ask(stash.url, document).status == 422
    assert ask(stash.url, document, operationName="B").data == {"version": {"hash": "sandbox"}}


def test_a_body_that_is_not_json_gets_400(stash: SandboxStash) -> None:
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    response = requests.post(f"{stash.url}/graphql", data="whistle", headers=headers, timeout=10)
    assert response.status_code == 400


def test_a_refusal_comes_with_200_and_its_path(stash: SandboxStash) -> None:
    reply = ask(stash.url, '{ findTag(id: "first") { id } }')
    assert reply.status == 200
    assert reply.body == {
        "data": {"findTag": None},
        "errors": [
            {"message": 'strconv.Atoi: parsing "first": invalid syntax', "path": ["findTag"]}
        ],
    }


def test_features_are_found_by_introspection(stash: SandboxStash) -> None:
    fields = ask(
        stash.url, '{ __type(name: "SceneMarkerCreateInput") { inputFields { name } } }'
    ).data["__type"]["inputFields"]
    assert {"name": "end_seconds"} in fields
    assert ask(stash.url, '{ __type(name: "Whistle") { name } }').data == {"__type": None}


def test_the_handshake_tells_version_settings_and_the_tag_of_vr_scenes(stash: SandboxStash) -> None:
    stash.ui["vrTag"] = "VR"
    ask(stash.url, 'mutation { configurePlugin(plugin_id: "referee", input: {a10: 3}) }')
    data = ask(stash.url, print_ast(BY_NAME["Handshake"]), {"ids": ["referee", "other"]}).data
    assert data["version"]["version"] == "v0.30.1"
    assert data["configuration"]["ui"] == {"vrTag": "VR"}
    assert data["configuration"]["plugins"] == {"referee": {"a10": 3}}
    assert data["configuration"]["general"]["maxSessionAge"] == 3600


def test_settings_that_were_never_set_are_absent_and_configuring_replaces_all_of_them(
    stash: SandboxStash,
) -> None:
    configure = 'mutation ($i: Map!) { configurePlugin(plugin_id: "referee", input: $i) }'
    assert ask(stash.url, "{ configuration { plugins } }").data == {
        "configuration": {"plugins": {}}
    }
    assert ask(stash.url, configure, {"i": {"a": 1, "b": True}}).data == {
        "configurePlugin": {"a": 1, "b": True}
    }
    assert ask(stash.url, configure, {"i": {"c": "x"}}).data == {"configurePlugin": {"c": "x"}}
    assert ask(stash.url, "{ configuration { plugins } }").data == {
        "configuration": {"plugins": {"referee": {"c": "x"}}}
    }
    assert ask(stash.url, configure, {"i": [1]}).messages == {
        "configurePlugin": "list is not a map"
    }


def test_the_log_names_operations_and_counts_every_alias_of_a_mutation(stash: SandboxStash) -> None:
    ask(stash.url, "query Look { version { version } }")
    ask(
        stash.url,
        'mutation { a: tagCreate(input: {name: "Foul"}) { id } b: tagCreate(input: {name: "Goal"}) { id } }',
    )
    assert stash.requests.operations == ["Look", ""]
    assert (stash.requests.mutations, stash.requests.writes) == ({"tagCreate": 2}, 1)
    assert [exchange.number for exchange in stash.requests.exchanges] == [1, 2]
    assert stash.requests.exchanges[1].fields == ("tagCreate", "tagCreate")
    stash.requests.clear()
    assert stash.requests.mutations.total() == 0


def test_hooks_see_a_request_before_it_is_executed_and_before_its_reply_leaves(
    stash: SandboxStash,
) -> None:
    seen: list[tuple[str, int]] = []

    def note(moment: str) -> None:
        seen.append((moment, len(stash.library.snapshot().tags)))

    stash.requests.on_request = lambda exchange: note(f"before {exchange.number}")
    stash.requests.on_reply = lambda exchange: note(f"after {exchange.number}")
    ask(stash.url, 'mutation { tagCreate(input: {name: "Foul"}) { id } }')
    assert seen == [("before 1", 0), ("after 1", 1)]


def test_a_hook_may_change_the_library_under_the_request(stash: SandboxStash) -> None:
    tag = stash.library.add_tag("Timeout")

    def remove(exchange: Exchange) -> None:
        stash.library.remove_tag("Timeout")

    stash.requests.on_request = remove
    assert ask(stash.url, "query ($id: ID!) { findTag(id: $id) { id } }", {"id": tag}).data == {
        "findTag": None
    }


def test_locked_mutations_fail_alone_and_are_used_up(stash: SandboxStash) -> None:
    stash.faults.locked_mutations = 1
    document = 'mutation { a: tagCreate(input: {name: "Foul"}) { name } b: tagCreate(input: {name: "Goal"}) { name } }'
    reply = ask(stash.url, document)
    assert (reply.status, reply.data) == (200, {"a": None, "b": {"name": "Goal"}})
    assert "database is locked" in reply.messages["a"]
    assert stash.faults.locked_mutations == 0


def test_a_lock_does_not_keep_anybody_from_reading(stash: SandboxStash) -> None:
    stash.faults.locked_mutations = 1
    assert ask(stash.url, "{ findTags { count } }").data == {"findTags": {"count": 0}}
    assert stash.faults.locked_mutations == 1


def test_failing_requests_get_500_and_are_not_executed(stash: SandboxStash) -> None:
    stash.faults.failing_requests = 2
    document = 'mutation { tagCreate(input: {name: "Foul"}) { id } }'
    assert [ask(stash.url, document).status for _ in range(3)] == [500, 500, 200]
    assert stash.requests.mutations == {"tagCreate": 1}


def test_a_delay_holds_the_request_back(stash: SandboxStash) -> None:
    stash.faults.delay_s = 60.0
    with pytest.raises(requests.Timeout):
        requests.post(
            f"{stash.url}/graphql", json={"query": "{ version { version } }"}, timeout=0.2
        )
    assert stash.requests.exchanges == []


def test_mutations_from_many_threads_all_arrive(stash: SandboxStash) -> None:
    def create(number: int) -> int:
        stash.library.add_tag(f"Library {number}")
        return ask(
            stash.url,
            "mutation ($n: String!) { tagCreate(input: {name: $n}) { id } }",
            {"n": f"Web {number}"},
        ).status

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(create, range(12))) == {200}
    assert len(stash.library.snapshot().tags) == 24
