"""Whose certificates are believed, and by which way requests travel."""

import asyncio
import ssl
from contextlib import asynccontextmanager

import pytest
import trustme
from aiohttp import web

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


async def listed(_):
    return web.json_response({"object": "list", "data": [{"id": "referee-7b"}]})


@asynccontextmanager
async def secure_server(authority, host="127.0.0.1"):
    """The port of a server that proves, by the authority, to be ``host``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host).configure_cert(context)
    app = web.Application()
    app.router.add_get("/v1/models", listed)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client_of(url, **more):
    client = OpenAIClient(
        EndpointConfig(base_url=url, name="court", **more), ModelConfig(model_id="referee-7b")
    )
    try:
        yield client
    finally:
        await client.aclose()


def test_a_certificate_that_nobody_vouches_for_is_refused_with_the_reason(authority):
    async def main():
        async with (
            secure_server(authority) as port,
            client_of(f"https://127.0.0.1:{port}/v1") as client,
        ):
            with pytest.raises(
                UnreachableError, match="no secure connection.*certificate"
            ) as caught:
                await client.check()
            assert "ca_file" in str(caught.value), "the remedy"

    asyncio.run(main())


def test_a_private_authority_is_believed_where_it_is_named(authority, ca_file):
    async def main():
        async with secure_server(authority) as port:
            async with client_of(f"https://127.0.0.1:{port}/v1", ca_file=ca_file) as client:
                assert await client.check() == ("referee-7b",)
                assert (await client.discover()).models == ("referee-7b",)
            async with client_of(f"https://127.0.0.1:{port}/v1") as client:
                with pytest.raises(UnreachableError):
                    await client.check()

    asyncio.run(main())


def test_even_a_private_authority_vouches_for_one_host_only(authority, ca_file):
    async def main():
        async with (
            secure_server(authority, "another.example") as port,
            client_of(f"https://127.0.0.1:{port}/v1", ca_file=ca_file) as client,
        ):
            with pytest.raises(UnreachableError, match="no secure connection"):
                await client.check()

    asyncio.run(main())


def test_certificates_that_cannot_be_read_are_a_fault_of_the_settings(tmp_path):
    (tmp_path / "empty.pem").write_text("no certificate")
    for name in ("empty.pem", "missing.pem"):
        with pytest.raises(ConfigError, match=rf"court.*ca_file.*{name}"):
            OpenAIClient(
                EndpointConfig(base_url="https://h/v1", name="court", ca_file=str(tmp_path / name)),
                ModelConfig(),
            )


class Tunnel:
    """A proxy that connects to a port of this machine whatever host it is asked for, and keeps what it was asked."""

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


def test_https_goes_through_a_proxy_unread(authority, ca_file, monkeypatch):
    async def main():
        async with secure_server(authority, "vlm.invalid") as port, Tunnel(port) as tunnel:
            monkeypatch.setenv("https_proxy", tunnel.url)
            monkeypatch.setenv("no_proxy", "")
            async with client_of(
                "https://vlm.invalid/v1", api_key="sk-of-the-league", ca_file=ca_file
            ) as client:
                assert await client.check() == ("referee-7b",)
            (head,) = tunnel.heads
            assert head.startswith("CONNECT vlm.invalid:443 ")
            assert "Proxy-Authorization: Basic " in head
            assert "sk-of-the-league" not in head

    asyncio.run(main())


def test_a_host_may_be_excepted_from_the_proxy(monkeypatch):
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "vlm.invalid")
    OpenAIClient(EndpointConfig(base_url="https://vlm.invalid/v1"), ModelConfig())
    OpenAIClient(EndpointConfig(base_url="https://127.0.0.1/v1"), ModelConfig())


@pytest.mark.parametrize("variable", ["https_proxy", "all_proxy"])
def test_a_proxy_that_speaks_no_http_is_a_fault_of_the_settings(variable, monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "socks5://coach:pass@127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"socks5 proxy.*HTTPS_PROXY.*NO_PROXY") as caught:
        OpenAIClient(EndpointConfig(base_url="https://vlm.invalid/v1", name="court"), ModelConfig())
    assert "pass" not in str(caught.value)
