"""Who the sandbox's Stash lets in."""

from collections.abc import Iterator

import pytest
import requests

from sandbox.stash import Credentials, SandboxStash
from sandbox.stash_client import ask
from vlm_engine.testing.threads import running

VERSION = "{ version { version } }"
KEY = "whistle-key"


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stash(clock: Clock) -> Iterator[SandboxStash]:
    with running(
        SandboxStash(
            credentials=Credentials("referee", "red card"),
            api_key=KEY,
            session_idle_s=60,
            clock=clock,
        )
    ) as server:
        yield server


def status(stash: SandboxStash, cookie: str | None = None, api_key: str = "") -> int:
    headers = {"Cookie": f"session={cookie}"} if cookie else {}
    return ask(
        stash.url, VERSION, headers={**headers, **({"ApiKey": api_key} if api_key else {})}
    ).status


def log_in(stash: SandboxStash, password: str) -> requests.Response:
    return requests.post(
        f"{stash.url}/login", data={"username": "referee", "password": password}, timeout=10
    )


def test_without_a_good_cookie_or_key_nobody_gets_in(stash: SandboxStash) -> None:
    response = requests.post(f"{stash.url}/graphql", json={"query": VERSION}, timeout=10)
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "FormBased")
    assert status(stash, cookie="made up") == 401
    assert stash.requests.exchanges == []


def test_who_asks_for_a_picture_without_a_cookie_is_sent_to_log_in(stash: SandboxStash) -> None:
    address = f"{stash.url}/image/1/image"
    response = requests.get(address, timeout=10, allow_redirects=False)
    assert (response.status_code, response.headers["Location"]) == (
        302,
        "/login?returnURL=/image/1/image",
    )
    assert (
        requests.get(
            address, headers={"ApiKey": "made up"}, timeout=10, allow_redirects=False
        ).status_code
        == 401
    )
    assert (
        requests.get(
            address, headers={"ApiKey": KEY}, timeout=10, allow_redirects=False
        ).status_code
        == 404
    )


def test_logging_in_gives_a_cookie(stash: SandboxStash) -> None:
    assert log_in(stash, "yellow card").status_code == 401
    response = log_in(stash, "red card")
    assert status(stash, cookie=response.cookies["session"]) == 200


def test_every_reply_to_a_good_cookie_sets_a_new_one(stash: SandboxStash) -> None:
    first = stash.sessions.issue()
    replies = [ask(stash.url, VERSION, headers={"Cookie": f"session={first}"}) for _ in range(2)]
    assert len({first, *(reply.cookie for reply in replies)}) == 3
    assert status(stash, cookie=replies[1].cookie) == 200


def test_a_cookie_goes_bad_after_its_idle_life_and_its_successor_later(
    stash: SandboxStash, clock: Clock
) -> None:
    first = stash.sessions.issue()
    clock.now_s = 50
    second = ask(stash.url, VERSION, headers={"Cookie": f"session={first}"}).cookie
    clock.now_s = 60
    assert status(stash, cookie=first) == 200
    clock.now_s = 70
    assert (status(stash, cookie=first), status(stash, cookie=second)) == (401, 200)
    clock.now_s = 111
    assert status(stash, cookie=second) == 401


def test_cookies_can_be_made_worthless_at_once(stash: SandboxStash) -> None:
    cookie = stash.sessions.issue()
    stash.sessions.expire_all()
    assert status(stash, cookie=cookie) == 401


def test_of_two_cookies_the_first_counts(stash: SandboxStash) -> None:
    good = stash.sessions.issue()
    assert ask(stash.url, VERSION, headers={"Cookie": f"session={good}; session=old"}).status == 200
    assert ask(stash.url, VERSION, headers={"Cookie": f"session=old; session={good}"}).status == 401


def test_the_api_key_opens_and_a_wrong_one_shuts_also_beside_a_good_cookie(
    stash: SandboxStash,
) -> None:
    assert status(stash, api_key=KEY) == 200
    assert (
        requests.post(
            f"{stash.url}/graphql?apikey={KEY}", json={"query": VERSION}, timeout=10
        ).status_code
        == 200
    )
    assert status(stash, cookie=stash.sessions.issue(), api_key="wrong") == 401
    assert ask(stash.url, VERSION, headers={"ApiKey": KEY}).cookie is None


def test_the_key_is_told_to_who_is_in(stash: SandboxStash) -> None:
    reply = ask(
        stash.url, "{ configuration { general { apiKey username } } }", headers={"ApiKey": KEY}
    )
    assert reply.data["configuration"]["general"] == {"apiKey": KEY, "username": "referee"}


def test_without_credentials_everybody_gets_in_but_not_with_a_key() -> None:
    with running(SandboxStash()) as stash:
        assert status(stash) == 200
        assert status(stash, cookie="made up") == 200
        assert status(stash, api_key="any") == 401
