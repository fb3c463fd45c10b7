"""Certificates and proxies."""

import asyncio
import ssl

import pytest
import trustme
from aiohttp import web

from tests.clients.helpers import KEY, Scripted, client_of
from vlm_engine.clients import OpenAIClient
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.errors import ConfigError, UnreachableError


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "league.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def secure_server(authority, host="127.0.0.1"):
    """Return a server whose certificate is for ``host``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host).configure_cert(context)
    return Scripted(models=("referee-7b",), tls=context)


async def test_an_unknown_certificate_is_refused_with_the_remedy(authority):
    async with (
        secure_server(authority) as server,
        client_of(server.url) as client,
    ):
        with pytest.raises(UnreachableError, match="no secure connection.*certificate") as caught:
            await client.check()
        assert "ca_file" in str(caught.value), "the remedy"


async def test_a_private_authority_is_trusted_if_set(authority, ca_file):
    async with secure_server(authority) as server:
        async with client_of(server.url, endpoint={"ca_file": ca_file}) as client:
            assert await client.check() == ("referee-7b",)
            assert (await client.discover()).models == ("referee-7b",)
        async with client_of(server.url) as client:
            with pytest.raises(UnreachableError):
                await client.check()


async def test_a_certificate_is_good_for_one_host_only(authority, ca_file):
    async with (
        secure_server(authority, "another.example") as server,
        client_of(server.url, endpoint={"ca_file": ca_file}) as client,
    ):
        with pytest.raises(UnreachableError, match="no secure connection"):
            await client.check()


def test_unreadable_certificates_are_a_config_error(tmp_path):
    (tmp_path / "empty.pem").write_text("no certificate")
    for name in ("empty.pem", "missing.pem"):
        with pytest.raises(ConfigError, match=rf"court.*ca_file.*{name}"):
            OpenAIClient(
                EndpointConfig(base_url="https://h/v1", name="court", ca_file=str(tmp_path / name)),
                ModelConfig(),
            )


class Tunnel:
    """A proxy that connects to one port whatever host is requested. ``heads``: the requests."""

    def __init__(self, port):
        self.port_behind = port
        self.heads = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://coach:pass@127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self.port_behind)
        await asyncio.gather(
            self._pass_on(reader, behind_writer), self._pass_on(behind_reader, writer)
        )

    async def _pass_on(self, reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


async def test_https_goes_through_a_proxy_encrypted(authority, ca_file, monkeypatch):
    async with secure_server(authority, "vlm.invalid") as server, Tunnel(server.port) as tunnel:
        monkeypatch.setenv("https_proxy", tunnel.url)
        monkeypatch.setenv("no_proxy", "")
        async with client_of(
            "https://vlm.invalid/v1", key=KEY, endpoint={"ca_file": ca_file}
        ) as client:
            assert await client.check() == ("referee-7b",)
        (head,) = tunnel.heads
        assert head.startswith("CONNECT vlm.invalid:443 ")
        assert "Proxy-Authorization: Basic " in head
        assert KEY not in head


def test_a_host_may_be_excluded_from_the_proxy(monkeypatch):
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "vlm.invalid")
    OpenAIClient(EndpointConfig(base_url="https://vlm.invalid/v1"), ModelConfig())
    OpenAIClient(EndpointConfig(base_url="https://127.0.0.1/v1"), ModelConfig())


@pytest.mark.parametrize("variable", ["https_proxy", "all_proxy"])
def test_a_proxy_that_is_not_http_is_a_config_error(variable, monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "socks5://coach:pass@127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"socks5 proxy.*HTTPS_PROXY.*NO_PROXY") as caught:
        OpenAIClient(EndpointConfig(base_url="https://vlm.invalid/v1", name="court"), ModelConfig())
    assert "pass" not in str(caught.value)


async def test_the_environments_proxy_is_not_for_this_machine(monkeypatch):
    seen = []

    async def proxy(request):
        seen.append((request.raw_path, "Proxy-Authorization" in request.headers))
        return web.json_response({"data": [{"id": "referee-7b"}]})

    runner = web.ServerRunner(web.Server(proxy, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("http_proxy", f"http://coach:pass@127.0.0.1:{runner.addresses[0][1]}")
    monkeypatch.setenv("no_proxy", "")
    async with client_of("http://vlm.invalid/v1") as client:
        assert await client.check() == ("referee-7b",)
    async with Scripted() as server, client_of(server.url) as client:
        assert await client.check() == ("sandbox-vlm",)
    await runner.cleanup()
    assert seen == [("http://vlm.invalid/v1/models", True)]
