"""Certificates and proxies."""

import asyncio
import ssl

import pytest
import trustme

from tests.clients.helpers import KEY, Scripted, client_of, client_on
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
    async with client_on(secure_server(authority)) as (client, _):
        with pytest.raises(UnreachableError, match="no secure connection.*certificate.*ca_file"):
            await client.check()


async def test_a_private_authority_is_trusted_if_set(authority, ca_file):
    server = secure_server(authority)
    async with client_on(server, endpoint={"ca_file": ca_file}) as (client, _):
        assert await client.check() == ("referee-7b",)
        assert (await client.discover()).models == ("referee-7b",)


async def test_a_certificate_is_good_for_one_host_only(authority, ca_file):
    server = secure_server(authority, "another.example")
    async with client_on(server, endpoint={"ca_file": ca_file}) as (client, _):
        with pytest.raises(UnreachableError, match="no secure connection"):
            await client.check()


@pytest.mark.parametrize("name", ["empty.pem", "missing.pem"])
def test_unreadable_certificates_are_a_config_error(name, tmp_path):
    (tmp_path / "empty.pem").write_text("no certificate")
    config = EndpointConfig(base_url="https://h/v1", name="court", ca_file=str(tmp_path / name))
    with pytest.raises(ConfigError, match=rf"court.*ca_file.*{name}"):
        OpenAIClient(config, ModelConfig())


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


@pytest.mark.parametrize("host", ["vlm.invalid", "127.0.0.1"])
def test_a_host_may_be_excluded_from_the_proxy(host, monkeypatch):
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "vlm.invalid")
    OpenAIClient(EndpointConfig(base_url=f"https://{host}/v1"), ModelConfig())


@pytest.mark.parametrize("variable", ["https_proxy", "all_proxy"])
def test_a_proxy_that_is_not_http_is_a_config_error(variable, monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "socks5://coach:pass@127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"socks5 proxy.*HTTPS_PROXY.*NO_PROXY") as caught:
        OpenAIClient(EndpointConfig(base_url="https://vlm.invalid/v1", name="court"), ModelConfig())
    assert "pass" not in str(caught.value)


async def test_the_environments_proxy_is_not_for_this_machine(monkeypatch):
    monkeypatch.setenv("no_proxy", "")
    async with Scripted(models=("by the proxy",)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://coach:pass@127.0.0.1:{proxy.port}")
        async with client_of("http://vlm.invalid/v1") as client:
            assert await client.check() == ("by the proxy",)
        async with client_on(Scripted()) as (client, _):
            assert await client.check() == ("sandbox-vlm",)
        (headers,) = proxy.headers
    assert headers["Proxy-Authorization"]
