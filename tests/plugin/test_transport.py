import json
import socket
import threading
from collections import deque
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from haven.stash.errors import (
    StashAuthError,
    StashLockedError,
    StashQueryError,
    StashTimeoutError,
    StashUnreachableError,
    StashVersionError,
)
from haven.stash.http import RetryPolicy
from haven.stash.server import handshake, ping
from haven.stash.transport import StashClient
from sandbox.stash import Credentials, SandboxStash
from tests.plugin.fragile import served
from vlm_engine.testing.threads import running

QUICK = RetryPolicy(total_s=0.05, first_pause_s=0.01)
KEY = "whistle-whistle-whistle"


class Scripted(ThreadingHTTPServer):
    """Answers each request with the next of ``script``: (status, body, headers), or an exception
    class to drop it.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = deque()
        self.received = []
        self.release = threading.Event()

    def reply(self, body, status=200, **headers):
        self.script.append((status, body if isinstance(body, str) else json.dumps(body), headers))

    def connection(self, **more):
        return {"Scheme": "http", "Host": "127.0.0.1", "Port": self.server_port, **more}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append((body, dict(self.headers)))
        step = self.server.script.popleft()
        if step == "drop":
            self.close_connection = True
            return
        if step == "hang":
            self.server.release.wait(10)
            self.close_connection = True
            return
        status, text, headers = step
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with served(Scripted()) as server:
        yield server


@contextmanager
def client_of(connection, **options):
    with closing(
        StashClient(connection, **({"timeout_s": 10, "retry": QUICK} | options))
    ) as client:
        yield client


@pytest.fixture
def client(server):
    with client_of(server.connection()) as client:
        yield client


def fault(message, *path):
    return {"message": message, **({"path": list(path)} if path else {})}


def test_the_data_of_a_reply_is_returned(client, server):
    server.reply({"data": {"version": {"version": "v0.30.1"}}})
    assert client.ask("query { version { version } }", {"a": 1}) == {
        "version": {"version": "v0.30.1"}
    }
    assert server.received[0][0] == {
        "query": "query { version { version } }",
        "variables": {"a": 1},
    }


def test_an_error_beside_data_raises_with_its_path_and_words(client, server):
    server.reply(
        {"data": {"m0": {"id": "1"}, "m1": None}, "errors": [fault("no such tag", "m1", "id")]}
    )
    with pytest.raises(StashQueryError, match="no such tag") as caught:
        client.ask("mutation { m0 m1 }")
    assert (caught.value.path, caught.value.message) == ("m1.id", "no such tag")


def test_inherited_methods_are_strict_too(client, server):
    server.reply(
        {
            "data": {"sceneMarkerCreate": None},
            "errors": [fault("end before start", "sceneMarkerCreate")],
        }
    )
    with pytest.raises(StashQueryError, match="end before start"):
        client.create_scene_marker({"title": "Foul"}, fragment="id")


def test_what_is_null_without_an_error_is_none(client, server):
    server.reply({"data": {"findScene": None}})
    assert client.find_scene(7, fragment="id") is None


def test_asked_once_each_alias_has_its_own_fate(client, server):
    server.reply({"data": {"m0": {"id": "1"}, "m1": None}, "errors": [fault("no such tag", "m1")]})
    reply = client.ask_once("mutation { m0 m1 }")
    assert reply.data == {"m0": {"id": "1"}, "m1": None}
    assert [(error.path, error.message) for error in reply.errors] == [("m1", "no such tag")]


def test_a_document_stash_refuses_as_a_whole_raises(client, server):
    server.reply({"errors": [fault('Cannot query field "fouls"')], "data": None}, status=422)
    with pytest.raises(StashQueryError, match="fouls"):
        client.ask_once("mutation { fouls }")


def test_a_locked_database_is_tried_again_until_it_is_free(client, server):
    for _ in range(2):
        server.reply({"data": None, "errors": [fault("database is locked", "tagCreate")]})
    server.reply({"data": {"tagCreate": {"id": "1"}}})
    assert client.ask("mutation { tagCreate }") == {"tagCreate": {"id": "1"}}


def test_a_locked_database_is_given_up_after_the_retry_time(server):
    pauses = []
    for _ in range(20):
        server.reply({"data": None, "errors": [fault("database is locked")]})
    policy = RetryPolicy(total_s=10, first_pause_s=1, longest_pause_s=4)
    with (
        client_of(server.connection(), retry=policy, sleep=pauses.append) as client,
        pytest.raises(StashLockedError),
    ):
        client.ask("mutation { tagCreate }")
    assert pauses == [1, 2, 4]


def test_another_error_is_not_tried_again(client, server):
    server.reply(
        {"data": None, "errors": [fault("tag with name 'Foul' already exists", "tagCreate")]}
    )
    with pytest.raises(StashQueryError, match="already exists"):
        client.ask("mutation { tagCreate }")
    assert len(server.received) == 1


@pytest.mark.parametrize("failure", ["drop", (503, "starting", {}), (500, "panic", {})])
def test_a_dropped_connection_is_retried_if_harmless(client, server, failure):
    server.script.append(failure)
    server.reply({"data": {"ok": True}})
    assert client.ask("query { ok }") == {"ok": True}


@pytest.mark.parametrize("call", ["ask_once", "call_GQL"])
def test_a_mutation_that_may_have_arrived_is_not_sent_twice(client, server, call):
    server.script.append("drop")
    server.reply({"data": {"ok": True}})
    with pytest.raises(StashUnreachableError, match="dropped"):
        getattr(client, call)("mutation { create }")
    assert len(server.received) == 1


def test_a_server_that_does_not_answer_in_time_is_a_clear_error(server):
    server.script.append("hang")
    with (
        client_of(server.connection(), timeout_s=0.2) as client,
        pytest.raises(StashTimeoutError, match=r"within 0\.2 s"),
    ):
        client.ask("query { ok }")


PATIENT = RetryPolicy(total_s=7, unmet_s=3, first_pause_s=1, longest_pause_s=4)
REFUSED = "cannot reach Stash at http://127"


def test_a_connection_that_is_never_made_soon_fails():
    pauses = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        connection = {"Host": "127.0.0.1", "Port": taken.getsockname()[1]}
        refused = pytest.raises(StashUnreachableError, match=REFUSED)
        with client_of(connection, retry=PATIENT, sleep=pauses.append) as client, refused:
            client.ask_once("mutation { create }")
    assert pauses == [1, 2]


def test_a_stash_that_was_there_has_longer_to_come_back(server):
    pauses = []
    server.reply({"data": {}}, Connection="close")
    with client_of(server.connection(), retry=PATIENT, sleep=pauses.append) as client:
        client.ask("query { ok }")
        server.shutdown()
        server.socket.close()
        with pytest.raises(StashUnreachableError, match=REFUSED):
            client.ask_once("mutation { create }")
    assert pauses == [1, 2, 4]


@pytest.mark.parametrize(
    ("status", "body"), [(200, "<html>Plex</html>"), (404, "not here"), (302, "")]
)
def test_something_that_is_not_stash_is_said_to_be_so(client, server, status, body):
    server.reply(body, status=status, Location="/login")
    with pytest.raises(StashUnreachableError, match="is not Stash"):
        client.ask("query { ok }")


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_is_a_clear_error_without_the_secrets(server, status):
    server.reply("", status=status)
    server.reply("", status=status)
    secrets = {"ApiKey": KEY, "SessionCookie": {"Name": "session", "Value": "cookie-value"}}
    with client_of(server.connection(**secrets)) as client, pytest.raises(StashAuthError) as caught:
        client.ask("query { ok }")
    assert KEY not in str(caught.value) + repr(client)
    assert "cookie-value" not in str(caught.value) + repr(client)


def test_the_newest_cookie_replaces_the_old_one(server):
    server.reply({"data": {}}, Set_Cookie="session=second; Path=/; Max-Age=3600; HttpOnly")
    server.reply({"data": {}})
    with client_of(
        server.connection(SessionCookie={"Name": "session", "Value": "first"})
    ) as client:
        client.ask("query { ok }")
        client.ask("query { ok }")
    assert [headers["Cookie"] for _, headers in server.received] == [
        "session=first",
        "session=second",
    ]


def test_a_key_that_was_replaced_gives_way_to_the_session(server):
    server.reply("", status=401)
    server.reply({"data": {"ok": 1}})
    server.reply({"data": {"ok": 2}})
    with client_of(
        server.connection(ApiKey=KEY, SessionCookie={"Name": "session", "Value": "good"})
    ) as client:
        assert client.ask("query { ok }") == {"ok": 1}
        assert client.ask("query { ok }") == {"ok": 2}
    assert ["ApiKey" in headers for _, headers in server.received] == [True, False, False]


def test_a_proxy_of_the_environment_is_not_used(server, monkeypatch):
    for name, value in {"http_proxy": "http://127.0.0.1:1", "no_proxy": "", "NO_PROXY": ""}.items():
        monkeypatch.setenv(name, value)
    server.reply({"data": {"ok": True}})
    with client_of(server.connection()) as client:
        assert client.ask("query { ok }") == {"ok": True}


def test_nothing_is_printed_and_stashapis_log_is_not_imported(client, server, capfd):
    server.reply({"data": None, "errors": [fault("no such tag")]})
    with pytest.raises(StashQueryError):
        client.find_tag(1, fragment="id")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:9999/graphql"),
        ("::", "http://[::1]:9999/graphql"),
        ("[::]", "http://[::1]:9999/graphql"),
        ("fe80::5", "http://[fe80::5]:9999/graphql"),
        ("10.0.0.5", "http://10.0.0.5:9999/graphql"),
        ("stash.local", "http://stash.local:9999/graphql"),
        ("", "http://localhost:9999/graphql"),
    ],
)
def test_a_host_that_means_every_interface_becomes_loopback(host, url):
    with client_of({"Host": host}) as client:
        assert client.url == url


@contextmanager
def sandbox_stash(**options):
    with running(SandboxStash(**options)) as stash:
        yield stash


def test_a_session_outlives_its_age_as_long_as_it_is_used():
    now = [0.0]
    with sandbox_stash(
        credentials=Credentials("coach", "whistle"), session_idle_s=2, clock=lambda: now[0]
    ) as stash:
        cookie = {"Name": "session", "Value": stash.sessions.issue()}
        with client_of({"Host": "0.0.0.0", "Port": stash.port, "SessionCookie": cookie}) as client:
            for _ in range(5):
                now[0] += 1.5
                ping(client)
            now[0] += 2.5
            with pytest.raises(StashAuthError):
                ping(client)


def test_with_the_users_api_key_a_task_outlives_its_session():
    with sandbox_stash(credentials=Credentials("coach", "whistle"), api_key=KEY) as stash:
        cookie = {"Name": "session", "Value": stash.sessions.issue()}
        with client_of(
            {"Host": "127.0.0.1", "Port": stash.port, "SessionCookie": cookie}
        ) as client:
            info = handshake(client, "ahavenvlmconnector")
            stash.sessions.expire_all()
            ping(client)
    assert KEY not in repr(info)


def test_one_request_tells_all_a_task_must_know():
    with sandbox_stash() as stash, client_of({"Host": "127.0.0.1", "Port": stash.port}) as client:
        info = handshake(client, "ahavenvlmconnector")
        assert stash.requests.operations == ["Handshake"]
    assert info.version.startswith("v0.")
    assert info.settings == {}
    assert info.plugins_path


def greeting(status="OK", fields=("title", "seconds", "end_seconds")):
    return {
        "data": {
            "version": {"version": "v0.27.2"},
            "systemStatus": {"status": status, "workingDir": "/"},
            "configuration": {
                "general": {
                    "apiKey": "",
                    "pluginsPath": "/plugins",
                    "generatedPath": "/generated",
                    "maxSessionAge": 3600,
                    "stashes": [{"path": "/media"}],
                },
                "plugins": {"ahavenvlmconnector": {"model": "referee-vl"}},
                "ui": {"vrTag": "VR"},
            },
            "marker": {"inputFields": [{"name": name} for name in fields]},
        }
    }


def test_the_plugins_settings_and_the_ui_are_read(client, server):
    server.reply(greeting())
    info = handshake(client, "ahavenvlmconnector")
    assert (info.settings, info.ui) == ({"model": "referee-vl"}, {"vrTag": "VR"})
    assert info.vr_tag == "VR"


@pytest.mark.parametrize("ui", [None, {}, {"vrTag": None}, {"vrTag": " "}])
def test_where_no_vr_tag_is_set_there_is_none(client, server, ui):
    reply = greeting()
    reply["data"]["configuration"]["ui"] = ui
    server.reply(reply)
    assert handshake(client, "ahavenvlmconnector").vr_tag == ""


def test_a_stash_without_end_times_is_too_old(client, server):
    server.reply(greeting(fields=("title", "seconds")))
    with pytest.raises(StashVersionError, match=r"v0\.27\.2.*v0\.28\.0 or later"):
        handshake(client, "ahavenvlmconnector")


def test_a_stash_that_waits_for_its_migration_is_named(client, server):
    server.reply(greeting(status="NEEDS_MIGRATION"))
    with pytest.raises(StashVersionError, match="NEEDS_MIGRATION"):
        handshake(client, "ahavenvlmconnector")
