import json
import logging
from pathlib import Path

import pytest
import yaml

import haven_vlm_config
from haven.settings.settings import Settings, TagNames
from haven.tagger import engine_config
from tests.plugin.local_settings import LOCAL, faults, load, model_of
from vlm_engine.config.models import ClusterConfig, ImageConfig, SearchConfig, VideoConfig
from vlm_engine.errors import ConfigError

UPSTREAM = yaml.safe_load(
    (Path(__file__).parents[1] / "data" / "older_engine.yaml").read_text(encoding="utf-8")
)


# --- the layers ---


def test_the_constants_hold_when_nothing_else_is_set(tmp_path):
    settings = Settings.load(folder=tmp_path)
    (endpoint,) = model_of(settings).endpoints()
    assert endpoint.base_url == "http://localhost:1234/v1"
    assert model_of(settings).model_id == ""
    assert settings.tag_list == tuple(haven_vlm_config.TAG_LIST)
    assert settings.engine.search.frame_interval_s is None
    assert settings.engine.default_rule.threshold == 0.5
    assert settings.concurrent_task_limit == 2
    assert settings.create_markers is True
    assert settings.tag_names == TagNames()
    assert settings.path_mutation == ()
    assert settings.engine.category_config["tags"] == {}
    assert settings.engine.models.keys() == {"vlm"}
    assert settings.engine.search == SearchConfig()
    assert settings.engine.video == VideoConfig()
    assert settings.engine.store_max_mb == 2000


def test_an_edited_constant_counts(monkeypatch):
    monkeypatch.setattr(haven_vlm_config, "TAG_LIST", ["Free throw"])
    assert load().tag_list == ("Free throw",)


def test_each_layer_overrides_the_one_below():
    text = (
        "CONCURRENT_TASK_LIMIT: 3\nMODEL: from-file\nVIDEO_FRAME_INTERVAL: "
        "2.5\nREQUEST_TIMEOUT: 30\nENDPOINT_PATIENCE: 60"
    )
    settings = load(
        text,
        {"videosAtOnce": 4, "endpointModel": "from-page"},
        {"CONCURRENT_TASK_LIMIT": "5"},
    )
    assert (model_of(settings).request_timeout, settings.engine.search.frame_interval_s) == (
        30,
        2.5,
    )
    assert (model_of(settings).endpoint_patience, model_of(settings).fallback_wait) == (60, 0)
    assert model_of(settings).model_id == "from-page"
    assert settings.concurrent_task_limit == 5


def test_everything_can_be_set_in_the_file():
    settings = load(
        """
ENDPOINTS:
  - {base_url: "http://nas:7045", api_key: key-of-nas, name: NAS, weight: 3,
     max_concurrent: 4, model_id: big}
  - {base_url: "https://spare:443/v1", is_fallback: true}
TAG_LIST: [Foul, Corner kick]
CREATE_MARKERS: false
VIDEO_THRESHOLD: 0.3
DEFAULT_TAG_RULE: {MaxGap: 5s, MinMarkerDuration: 2, RequiredDuration: 5%}
TAG_RULES: {foul: {RenamedTag: ' Personal foul ', TagThreshold: 0.7}}
VLM_BASE_TAG_NAME: AI
VLM_TAGME_TAG_NAME: ' AI_Do '
PATH_MUTATION: {/data: /mnt/nas, /data/finals/: /mnt/finals, "D:\\\\cup": /mnt/cup}
IMAGE_MAX_SIDE: 768
VIDEO_SHORTEST_EVENT: 3
VIDEO_SEARCH_EFFORT: 2
VIDEO_QUESTIONS_PER_HOUR: 600
VIDEO_EDGE_TOLERANCE: 1
VIDEO_DECODING_DEVICE: CUDA
VIDEO_STALL_TIMEOUT: 90
VR_LAYOUT: 180_LR
IMAGE_GALLERIES: false
GALLERY_TAG_SHARE: 0.3
IMAGE_FROM_STASH: false
IMAGE_FRAMES: 3
IMAGE_PARTS: 4
STORE_MAX_MB: 0
""",
    )
    first, spare = model_of(settings).endpoints()
    assert (first.base_url, first.label, first.weight, first.max_concurrent, first.model_id) == (
        "http://nas:7045/v1",
        "NAS",
        3,
        4,
        "big",
    )
    assert spare.is_fallback
    assert settings.tag_list == ("Foul", "Corner kick")
    assert not settings.create_markers
    assert settings.engine.default_rule.max_gap.seconds(600) == 5
    assert settings.engine.default_rule.required.seconds(600) == 30
    assert settings.engine.default_rule.threshold == 0.3
    assert settings.engine.category_config["tags"]["Foul"].renamed == "Personal foul"
    assert (
        settings.engine.default_rule.overridden(
            settings.engine.category_config["tags"]["Foul"]
        ).threshold
        == 0.7
    )
    assert settings.tag_names == TagNames(parent="AI", tag_me="AI_Do")
    assert [prefix for prefix, _ in settings.path_mutation] == ["/data", "/data/finals/", "D:\\cup"]
    assert model_of(settings).image_max_side == 768
    assert settings.engine.video == VideoConfig(hwaccel="cuda", stall_s=90, vr_layout="sbs-180")
    assert settings.engine.search == SearchConfig(
        shortest_event_s=3, effort=2, questions_per_hour=600, edge_tolerance_s=1
    )
    assert settings.engine.image == ImageConfig(frames=3, parts=4)
    assert settings.engine.store_max_mb is None
    assert not settings.image_galleries
    assert not settings.image_from_stash
    assert settings.gallery_tag_share == 0.3


def test_an_empty_file_and_one_that_windows_wrote_are_read(tmp_path):
    assert model_of(load("# nothing yet\n")).model_id == ""
    (tmp_path / LOCAL).write_bytes("\ufeffMODEL: ärger\r\n".encode())
    assert model_of(Settings.load(folder=tmp_path)).model_id == "ärger"


def test_a_setting_without_a_value_is_not_set():
    assert load("MODEL:\nTAG_LIST: ~").tag_list == tuple(haven_vlm_config.TAG_LIST)


@pytest.mark.parametrize(
    "text",
    [
        "PATH_MUTATION: {/data: /mnt/media, 'D:\\pics': //nas/pics}",
        "PATH_MUTATION: [[/data, /mnt/media], ['D:\\pics', //nas/pics]]",
        "PATH_MUTATION: /data => /mnt/media; D:\\pics=>//nas/pics;",
        "PATH_MUTATION: |\n  /data => /mnt/media\n  D:\\pics => //nas/pics",
    ],
)
def test_paths_may_be_written_in_several_ways(text):
    assert load(text).path_mutation == (("/data", "/mnt/media"), ("D:\\pics", "//nas/pics"))


# --- Stash's settings page and a task's arguments ---


def test_an_untouched_page_changes_nothing():
    untouched = {
        "endpoint": "",
        "endpointKey": " ",
        "tagNames": "",
        "tagsOnly": False,
        "videoInterval": 0,
        "videosAtOnce": 0,
    }
    text = "CREATE_MARKERS: false\nVIDEO_FRAME_INTERVAL: 9"
    assert load(text, untouched) == load(text)


def test_the_page():
    page = {
        "endpoint": "http://nas:7045, https://spare/v1",
        "endpointKey": "key-of-page",
        "endpointModel": " vision-8b ",
        "mediaPaths": "/my data => /mnt/media; /pics => \\\\nas\\pics",
        "tagNames": "Foul,  Free   throw ,Goal,",
        "tagsOnly": True,
        "videoInterval": 4,
        "videosAtOnce": 6,
        "vrLayout": "TB 360",
    }
    settings = load(page=page)
    assert [endpoint.base_url for endpoint in model_of(settings).endpoints()] == [
        "http://nas:7045/v1",
        "https://spare/v1",
    ]
    assert [endpoint.key() for endpoint in model_of(settings).endpoints()] == ["key-of-page"] * 2
    assert model_of(settings).model_id == "vision-8b"
    assert settings.tag_list == ("Foul", "Free throw", "Goal")
    assert not settings.create_markers
    assert (settings.engine.search.frame_interval_s, settings.concurrent_task_limit) == (4.0, 6)
    assert settings.engine.video.vr_layout == "tb-360"
    assert settings.path_mutation == (("/my data", "/mnt/media"), ("/pics", "\\\\nas\\pics"))


def test_a_key_alone_goes_to_the_endpoints_that_have_none(monkeypatch):
    monkeypatch.setenv("KEY_OF_B", "key-of-b")
    text = (
        "ENDPOINTS: [{base_url: 'http://a', api_key: key-of-a}, "
        "{base_url: 'http://b', api_key_env: KEY_OF_B}, {base_url: 'http://c'}]"
    )
    settings = load(text, {"endpointKey": "key-of-page"})
    assert [endpoint.key() for endpoint in model_of(settings).endpoints()] == [
        "key-of-a",
        "key-of-b",
        "key-of-page",
    ]
    assert set(settings.secrets()) == {"key-of-a", "key-of-b", "key-of-page"}


def test_a_key_never_goes_to_servers_named_above_it():
    text = "ENDPOINTS: ['http://a']\nAPI_KEY: key-of-file"
    assert model_of(load(text)).endpoints()[0].key() == "key-of-file"
    assert model_of(load(text, {"endpoint": "http://b"})).endpoints()[0].key() == ""


def test_a_key_that_the_page_no_longer_shows_is_passed_over():
    assert load(page={"oldSetting": "x", "videosAtOnce": 3}).concurrent_task_limit == 3


def test_task_arguments_are_text():
    args = {
        "mode": "tag_videos",
        "ENDPOINTS": "http://nas:7045",
        "TAG_LIST": "Foul, Goal",
        "CREATE_MARKERS": "false",
        "VIDEO_THRESHOLD": "0.25",
        "VIDEO_FRAME_INTERVAL": "2.5",
        "MODEL": "",
    }
    settings = load("MODEL: vision-8b", {"tagsOnly": False}, args)
    assert model_of(settings).endpoints()[0].base_url == "http://nas:7045/v1"
    assert settings.tag_list == ("Foul", "Goal")
    assert not settings.create_markers
    assert (settings.engine.default_rule.threshold, settings.engine.search.frame_interval_s) == (
        0.25,
        2.5,
    )
    assert model_of(settings).model_id == "vision-8b"


WRITTEN = '{"address": "tls://nas:8786", "paths": {"*": {"/data": "/mnt"}}, "ca_file": "ca.pem"}'


@pytest.mark.parametrize(
    ("layers", "cluster"),
    [
        ({}, None),
        ({"text": "CLUSTER: local:2"}, ClusterConfig(address="local:2")),
        ({"text": f"CLUSTER: {WRITTEN}"}, ClusterConfig(**json.loads(WRITTEN))),
        ({"page": {"workCluster": " tcp://nas:8786"}}, ClusterConfig(address="tcp://nas:8786")),
        ({"args": {"CLUSTER": "local:4"}}, ClusterConfig(address="local:4")),
        ({"args": {"CLUSTER": WRITTEN}}, ClusterConfig(**json.loads(WRITTEN))),
        ({"text": "CLUSTER: ''"}, None),
        ({"text": "CLUSTER: {}"}, None),
    ],
)
def test_a_cluster_can_be_set_in_every_layer(layers, cluster):
    assert load(**layers).engine.cluster == cluster


def test_a_cluster_in_the_constants_counts(monkeypatch):
    monkeypatch.setattr(haven_vlm_config, "CLUSTER", json.loads(WRITTEN))
    cluster = load().engine.cluster
    assert cluster is not None
    assert cluster.paths_of("any") == {"/data": "/mnt"}


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("nas:8786", "CLUSTER.address: 'nas:8786' is no address of a cluster"),
        ("{adress: x}", "CLUSTER: unknown key 'adress'; did you mean 'address'?"),
        ("{paths: {}}", "CLUSTER.address: Field required"),
    ],
)
def test_a_wrong_cluster_is_refused(value, fault):
    (found,) = faults(f"CLUSTER: {value}")
    assert fault in found


def test_endpoints_of_one_worker_are_kept():
    settings = load(
        "CLUSTER: local:2\nAPI_KEY: key-of-all\n"
        "ENDPOINTS: [{base_url: 'http://a', worker: gpu-1, api_key_env: ONLY_THERE},"
        " {base_url: 'http://b', worker: gpu-2}]"
    )
    assert model_of(settings).endpoints() == ()
    assert [one.worker for one in model_of(settings).every_endpoint()] == ["gpu-1", "gpu-2"]
    assert settings.secrets() == ("key-of-all",)


# --- faults ---


def test_all_faults_are_reported_together_with_their_place(monkeypatch):
    monkeypatch.setattr(haven_vlm_config, "CONCURRENT_TASK_LIMIT", 0)
    found = faults(
        "TAG_LISTS: [Foul]\nVIDEO_THRESHOLD: 3\nTAG_RULES: {Foul: {TagThreshold: 7}}\n"
        "ENDPOINTS: [{base_url: 'http://a', wieght: 2}]",
        {"videosAtOnce": -1, "endpoint": "localhost"},
        {"CREATE_MARKERS": "perhaps", "modes": "x"},
    )
    assert sorted(found) == sorted(
        [
            "haven_vlm_config.py: CONCURRENT_TASK_LIMIT: Input should be greater than or equal to "
            "1 (it is 0)",
            f"{LOCAL}: TAG_LISTS: there is no such setting; did you mean TAG_LIST?",
            f"{LOCAL}: VIDEO_THRESHOLD: Input should be less than or equal to 1 (it is 3)",
            f"{LOCAL}: TAG_RULES.Foul.TagThreshold: Input should be less than or equal to 1",
            f"{LOCAL}: ENDPOINTS[0]: unknown key 'wieght'; did you mean 'weight'?",
            "Scenes at once on the settings page: Input should be greater than or equal to 1 (it "
            "is -1)",
            "Endpoint on the settings page: 'localhost' is not an address; write it like "
            "http://localhost:1234/v1",
            "task arguments: CREATE_MARKERS: Input should be a valid boolean, unable to interpret "
            "input (it is 'perhaps')",
            "task arguments: modes: there is no such setting; did you mean MODEL?",
        ]
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "TAG_LIST: [Foul, foul]",
            "TAG_LIST: tag 'foul' is listed twice, before as 'Foul': case makes no difference; "
            "keep one",
        ),
        ("TAG_LIST: [Foul, Foul]", "TAG_LIST: tag 'Foul' is listed twice; keep one"),
        ("TAG_LIST: 7", "TAG_LIST: tags are a list of names"),
        (
            "TAG_LIST: [Foul, Off, 42]",
            "TAG_LIST: tags are a list of names, but entry 2 is False, entry 3 is 42: YAML takes "
            "words like Off",
        ),
        (
            "TAG_LIST: [Foul, '']",
            "TAG_LIST: a tag is a name of 1 to 200 characters; this is none: ''",
        ),
        (
            "TAG_DESCRIPTIONS: {Off: whistle}",
            "TAG_DESCRIPTIONS: a tag is a name of 1 to 200 characters; this is none: False (YAML",
        ),
        (
            "TAG_RULES: {Off: {MaxGap: 2}}",
            f"{LOCAL}: TAG_RULES: False is no text: YAML takes words like Off and No, and numbers",
        ),
        (
            "TAG_RULES: {Foul: {RenamedTag: 7}}",
            "TAG_RULES.Foul.RenamedTag: this is no text: YAML takes words like",
        ),
        (
            "TAG_RULES: {Foul: }",
            "TAG_RULES.Foul: write settings here, each as 'name: value'; there are RenamedTag, "
            "MinMarkerDuration",
        ),
        (
            "TAG_RULES: {Foul: {RenamedTag: a, renamed: b}}",
            "'RenamedTag' and 'renamed' are names of one setting; keep one of them",
        ),
        (
            "ENDPOINTS: [{base_url: 'http://a', api_base_url: 'http://a'}]",
            "ENDPOINTS[0]: 'base_url' and 'api_base_url' are names of",
        ),
        (
            "VLM_ENGINE_CONFIG: {models: {}}",
            "VLM_ENGINE_CONFIG.models: there is none to ask; write one of type vlm_model",
        ),
        (
            "PATH_MUTATION: {/a: 5}",
            "PATH_MUTATION: '/a': 5 is no pair of folders; write both as text",
        ),
        (
            "PATH_MUTATION: {/a: }",
            "PATH_MUTATION: '/a': None is no pair of folders; write both as text",
        ),
        ("TAG_LIST: []", "TAG_LIST: there are no tags"),
        ("ENDPOINTS: 7", "ENDPOINTS: write a list of endpoints"),
        ("ENDPOINTS: []", "ENDPOINTS: there is none"),
        ("ENDPOINTS: [{base_url: 'http://a', api_key_env: NO_SUCH_KEY}]", "NO_SUCH_KEY"),
        (
            "VLM_TAGGED_TAG_NAME: Vlm_TagMe",
            "VLM_TAGGED_TAG_NAME: 'Vlm_TagMe' is the name that VLM_TAGME_TAG_NAME has, too",
        ),
        ("TAG_LIST: [Foul, Vlm]", "TAG_LIST: 'Vlm' is the name that VLM_BASE_TAG_NAME has, too"),
        (
            "TAG_RULES: {Foul: {RenamedTag: Vlm_TagMe}}",
            "TAG_RULES.Foul.RenamedTag: 'Vlm_TagMe' is the name that VLM_TAGME_TAG_NAME has",
        ),
        (
            "VLM_ERRORED_TAG_NAME: Injury\nTAG_RULES: {Foul: {RenamedTag: injury}}",
            "'injury' is the name that VLM_ERRORED_TAG_NAME has",
        ),
        ("VLM_TAGME_TAG_NAME: ''", "VLM_TAGME_TAG_NAME: it is blank; write the name of a tag"),
        ("VLM_BASE_TAG_NAME: '  '", "VLM_BASE_TAG_NAME: it is blank"),
        ("TAG_RULES: {Foul: {RenamedTag: '  '}}", "TAG_RULES.Foul.RenamedTag: it is blank"),
        (
            "TAG_RULES: {Foul: {RenamedTag: ' VLM_Tagged '}}",
            "TAG_RULES.Foul.RenamedTag: 'VLM_Tagged' is the name that",
        ),
        (
            "PATH_MUTATION: {'': /mnt}",
            "PATH_MUTATION: '' is no whole path; it begins with a slash or a drive",
        ),
        ("PATH_MUTATION: {/data: media}", "PATH_MUTATION: 'media' is no whole path"),
        (
            "PATH_MUTATION: /data -> /mnt",
            "PATH_MUTATION: '/data -> /mnt': write /data => /mnt/nas, and a semicolon between",
        ),
        (
            "PATH_MUTATION: [/data, /mnt]",
            "PATH_MUTATION: write each folder of Stash's and where it is here",
        ),
        ("PATH_MUTATION: 7", "PATH_MUTATION: write each folder of Stash's and where it is here"),
        (
            "DEFAULT_TAG_RULE: {RenamedTag: Foul}",
            "DEFAULT_TAG_RULE: RenamedTag would give every tag one name",
        ),
        ("DEFAULT_TAG_RULE: {TagThreshold: 0.5}", "VIDEO_THRESHOLD"),
        (
            "VLM_ENGINE_CONFIG: {models: {m: {tag_list: 7}}}",
            "VLM_ENGINE_CONFIG.models.m.tag_list: tags are a list of names",
        ),
        (
            "VIDEO_STALL_TIMEOUT: 0",
            "VIDEO_STALL_TIMEOUT: Input should be greater than or equal to 1",
        ),
        (
            f"DEFAULT_TAG_RULE: {{MaxGap: {'9' * 400}}}",
            "DEFAULT_TAG_RULE.MaxGap.value: Input should be a valid number",
        ),
        ("STORE_MAX_MB: 5", "STORE_MAX_MB: Input should be greater than or equal to 10 (it is 5)"),
        ("[Foul, Goal]", f"{LOCAL}: must hold settings"),
        ("MODEL: a\nTAG_LIST: [Foul", f"{LOCAL}: not YAML: line 2: "),
        (
            "MODEL: a\nPROMPT: a \x07 rings",
            f"{LOCAL}: not YAML: line 2: the character U+0007 is none that a text has; delete it",
        ),
        ("MODEL: a\x00", f"{LOCAL}: not YAML: line 1: the character U+0000"),
        ("MODEL: 2027-02-31", f"{LOCAL}: a value in it cannot be read: day "),
        (
            "TAG_LIST: [Foul]\nMODEL: a\nTAG_LIST: [Goal]",
            f"{LOCAL}: 'TAG_LIST' is written twice, in lines 1 and 3, and only",
        ),
        (
            "TAG_RULES: {Foul: {MaxGap: 2, MaxGap: 3}}",
            f"{LOCAL}: 'MaxGap' is written twice, in line 1",
        ),
        (
            "TAG_RULES: {Foul: {MaxGap: 2}, foul : {MaxGap: 3}}",
            "TAG_RULES: tag 'foul' is listed twice, before as 'Foul': case",
        ),
        (
            "TAG_DESCRIPTIONS: {Foul: a whistle, foul: a hand}",
            "TAG_DESCRIPTIONS: tag 'foul' is listed twice, before as 'Foul'",
        ),
        (
            "TAG_SYNONYMS: {Foul: whistle, foul: hand}",
            "TAG_SYNONYMS: tag 'foul' is listed twice, before as 'Foul'",
        ),
        (
            "SYSTEM_PROMPT: '{tagz}'",
            f"{LOCAL}: SYSTEM_PROMPT: {{tagz}} is no field; did you mean {{tags}}?",
        ),
        ("SYSTEM_PROMPT: Name what you see.", f"{LOCAL}: SYSTEM_PROMPT: {{tags}} is missing"),
        ("SYSTEM_PROMPT: '{tags}'\nPROMPT: A match.", f"{LOCAL}: PROMPT: nothing is made of it"),
        ("TAG_DESCRIPTIONS: [Foul]", f"{LOCAL}: TAG_DESCRIPTIONS: write what each tag means"),
        ("TAG_LIST: [Foul: 3]", f"{LOCAL}: TAG_DESCRIPTIONS: write what each tag means"),
        ("TAG_SYNONYMS: Foul", f"{LOCAL}: TAG_SYNONYMS: write other names of a tag"),
        (
            "TAG_SYNONYMS: {Foul: }",
            f"{LOCAL}: TAG_SYNONYMS: 'Foul' has no list of other names; write it like",
        ),
        ("TAG_SYNONYMS: {Foul: 7}", f"{LOCAL}: TAG_SYNONYMS: 'Foul' has no list of other names"),
        (
            "TAG_LIST: [Foul, Goal]\nTAG_SYNONYMS: {Foul: goal}",
            f"{LOCAL}: TAG_SYNONYMS: 'goal' means 'Goal' already",
        ),
    ],
)
def test_a_wrong_value_is_named(text, fault):
    (found,) = faults(text)
    assert fault in found


def test_what_one_rule_takes_from_another_is_not_written_twice():
    text = (
        "DEFAULT_TAG_RULE: &usual {MaxGap: 3s, MinMarkerDuration: 2s}\nTAG_RULES: "
        "{Foul: {<<: *usual, MaxGap: 9s}}"
    )
    rule = load(text).engine.category_config["tags"]["Foul"]
    assert (rule.max_gap.value, rule.min_marker.value) == (9, 2)


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / LOCAL).write_bytes(b"MODEL: \xff\xfe")
    with pytest.raises(ConfigError, match="save it as UTF-8"):
        Settings.load(folder=tmp_path)


def test_a_file_that_stash_would_take_for_a_plugin_is_told(tmp_path):
    (tmp_path / LOCAL.replace(".yaml", ".yml")).write_text("MODEL: vision-8b")
    with pytest.raises(ConfigError, match=f"rename it to {LOCAL}"):
        Settings.load(folder=tmp_path)


def test_no_key_is_ever_shown():
    found = faults(
        "ENDPOINTS: [{base_url: 'http://a', api_key: [key-of-file]}]",
        args={"API_KEY": "key-of-task", "MODLE": "x"},
    )
    assert "key-of" not in "".join(found)
    assert "key-of-file" not in repr(
        load("ENDPOINTS: [{base_url: 'http://a', api_key: key-of-file}]")
    )


def test_a_rule_for_a_tag_that_is_not_looked_for_is_named(caplog):
    settings = load("TAG_LIST: [Foul]\nTAG_RULES: {Foull: {MaxGap: 3s}, foul: {MaxGap: 4s}}")
    assert list(settings.engine.category_config["tags"]) == ["Foul"]
    assert caplog.messages == ["There are rules for tags that are not looked for: Foull"]


def test_names_of_older_files_are_passed_over_with_a_warning(caplog):
    assert model_of(load("SERVER_TIMEOUT: 3700\nMODEL: vision-8b")).model_id == "vision-8b"
    assert caplog.messages == [
        f"{LOCAL}: these settings have no meaning here and are ignored: SERVER_TIMEOUT"
    ]


def test_a_place_for_the_answers_is_passed_over_with_a_warning(caplog):
    settings = load(
        "VLM_ENGINE_CONFIG: {store_path: answers.sqlite, models: {referee: {tag_list: [Foul]}}}",
    )
    assert engine_config(settings, None).store_path is None
    assert caplog.messages == [
        f"{LOCAL}: these settings have no meaning here and are ignored: "
        "VLM_ENGINE_CONFIG.store_path"
    ]


# --- a whole engine configuration ---


@pytest.fixture
def upstream(monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(haven_vlm_config, "VLM_ENGINE_CONFIG", UPSTREAM)


def test_a_whole_configuration_of_the_engine_is_used(upstream):
    settings = load()
    model = model_of(settings)
    assert [endpoint.label for endpoint in model.endpoints()] == ["first", "spare"]
    assert model.model_id == "org/vision-flash"
    assert settings.tag_list == ("Foul", "Turnover", "Goal")
    assert settings.engine.category_config["plays"]["Foul"].renamed == "Personal foul"
    assert model.max_concurrent_requests == 13
    assert (model.request_timeout, model.endpoint_patience) == (70, 300)


def test_layers_above_a_whole_configuration_change_it(upstream):
    page = {"endpoint": "http://desk:1234", "endpointModel": "vision-8b", "tagNames": "Foul"}
    text = (
        "TAG_RULES: "
        "{Foul: {MaxGap: 9s}}\nDEFAULT_TAG_RULE: {MaxGap: 4s}\n"
        "IMAGE_MAX_SIDE: 512\nSCAN_IMAGE_MAX_SIDE: 384"
    )
    engine = load(text, page).engine
    model = engine.models["vlm_multiplexer_model"]
    assert [endpoint.base_url for endpoint in model.endpoints()] == ["http://desk:1234/v1"]
    assert (model.model_id, model.tag_list) == ("vision-8b", ("Foul",))
    assert (model.image_max_side, model.scan_max_side) == (512, 384)
    assert model.max_concurrent_requests == 13
    assert engine.default_rule.max_gap.value == 4
    assert engine.category_config["plays"]["Foul"].max_gap.value == 9


def test_a_key_of_the_page_reaches_endpoints_without_one(upstream):
    settings = load(page={"endpointKey": "key-of-page"})
    keys = [endpoint.key() for endpoint in model_of(settings).endpoints()]
    assert keys == ["key-of-page", "key-of-page"]
    assert settings.secrets() == ("key-of-page",)


@pytest.mark.parametrize(
    ("written", "where"),
    [
        (
            {"category_config": {"plays": {"Goal": {"RenamedTag": "VLM_tagged"}}}},
            "category_config.plays.Goal",
        ),
        ({"default_rule": {"RenamedTag": "VLM_tagged"}}, "default_rule"),
    ],
)
def test_no_rule_gives_a_tag_the_name_of_a_control_tag(upstream, monkeypatch, written, where):
    monkeypatch.setattr(haven_vlm_config, "VLM_ENGINE_CONFIG", UPSTREAM | written)
    (found,) = faults()
    assert found.startswith(
        f"haven_vlm_config.py: VLM_ENGINE_CONFIG.{where}.RenamedTag: 'VLM_tagged' is the name "
        "that VLM_TAGGED_TAG_NAME has, too"
    )
    (found,) = faults("TAG_RULES: {Goal: {RenamedTag: VLM}}\nDEFAULT_TAG_RULE: {MaxGap: 2s}")
    assert found.startswith(
        f"{LOCAL}: TAG_RULES.Goal.RenamedTag: 'VLM' is the name that VLM_BASE_TAG_NAME has, too"
    )


@pytest.mark.parametrize(
    ("written", "text", "without", "changed"),
    [
        (
            {"video": {"hwaccel": "vaapi", "stall_s": 20}},
            "VIDEO_DECODING_DEVICE: ''",
            VideoConfig(hwaccel="vaapi", stall_s=20),
            VideoConfig(stall_s=20),
        ),
        (
            {"image": {"frames": 2}},
            "IMAGE_FRAMES: 7\nIMAGE_PARTS: 9",
            ImageConfig(frames=2),
            ImageConfig(frames=7, parts=9),
        ),
        (
            {"search": {"effort": 3, "questions_per_hour": 500, "second_looks": False}},
            "VIDEO_QUESTIONS_PER_HOUR: 0",
            SearchConfig(effort=3, questions_per_hour=500, second_looks=False),
            SearchConfig(effort=3, second_looks=False),
        ),
        ({"store_max_mb": 50}, "STORE_MAX_MB: 0", 50, None),
    ],
)
def test_single_settings_above_a_whole_configuration_count(
    upstream,
    monkeypatch,
    written,
    text,
    without,
    changed,
):
    ((group, _),) = written.items()
    monkeypatch.setattr(haven_vlm_config, "VLM_ENGINE_CONFIG", UPSTREAM | written)
    assert getattr(load().engine, group) == without
    assert getattr(load(text).engine, group) == changed


def test_one_model_fills_what_another_leaves_open(upstream):
    two = {
        "first": {"api_base_url": "http://nas:7045", "tag_list": ["Foul"], "model_id": "big"},
        "second": {"model_category": "signs", "tag_list": ["Card"]},
    }
    models = load(f"VLM_ENGINE_CONFIG: {json.dumps({'models': two})}").engine.models
    assert [model.tag_list for model in models.values()] == [("Foul",), ("Card",)]
    assert [model.model_id for model in models.values()] == ["big", "big"]
    assert models["first"].endpoints() == models["second"].endpoints()


def test_the_fingerprint_shows_changes_but_no_keys():
    def fingerprint(**args: str) -> str:
        return load(args=args).fingerprint()

    assert fingerprint() == fingerprint()
    assert fingerprint() != fingerprint(VIDEO_THRESHOLD="0.7")
    assert fingerprint(API_KEY="one-key-123456") == fingerprint(API_KEY="another-key-7890")
