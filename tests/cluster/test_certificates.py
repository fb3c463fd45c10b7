"""A cluster with certificates: who has the right ones gets in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.cluster.clusters import as_json, settings
from vlm_engine.cluster import open_engine
from vlm_engine.errors import ConfigError
from vlm_engine.testing import Behaviour, SandboxVLM


@dataclass(frozen=True)
class Certificates:
    """Files of an authority, and of one certificate by it."""

    ca_file: str
    cert_file: str
    key_file: str


def issued(folder: Path) -> Certificates:
    """Write the certificates of a new authority."""
    folder.mkdir()
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    found = Certificates(*(str(folder / name) for name in ("ca.pem", "cert.pem", "key.pem")))
    authority.cert_pem.write_to_path(found.ca_file)
    certificate.private_key_pem.write_to_path(found.key_file)
    for number, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(found.cert_file, append=number > 0)
    return found


@pytest.fixture
def ours(tmp_path: Path) -> Certificates:
    return issued(tmp_path / "ours")


@pytest.fixture
def there(start, ours):
    tls = ["--tls-ca-file", ours.ca_file, "--tls-cert", ours.cert_file, "--tls-key", ours.key_file]
    return start("w1", tls=tls)


def address(there, ours: Certificates, **changed: str) -> dict[str, str]:
    return {"address": there.address, **vars(ours), **changed}


async def test_a_cluster_with_certificates_tags_videos(there, ours, videos, alone):
    assert there.address.startswith("tls://")
    async with SandboxVLM(Behaviour(slots=8)) as vlm:
        config = settings(vlm, cluster=address(there, ours))
        async with open_engine(config) as engine:
            assert as_json(await engine.process_video(videos[0])) == alone.results[0]


async def test_a_wrong_authority_is_told(there, ours, tmp_path):
    other = issued(tmp_path / "other")
    async with SandboxVLM() as vlm:
        config = settings(vlm, cluster=address(there, ours, ca_file=other.ca_file))
        with pytest.raises(ConfigError, match="certificates .*check ca_file"):
            await open_engine(config).initialize()


async def test_a_certificate_of_another_authority_is_told(there, ours, tmp_path):
    other = vars(issued(tmp_path / "other")) | {"ca_file": ours.ca_file}
    async with SandboxVLM() as vlm:
        config = settings(vlm, cluster=address(there, ours, **other))
        with pytest.raises(ConfigError, match="certificates"):
            await open_engine(config).initialize()


async def test_a_caller_without_certificates_is_told(there, ours):
    async with SandboxVLM() as vlm:
        with pytest.raises(ConfigError, match="ca_file"):
            await open_engine(settings(vlm, cluster=there.address)).initialize()


async def test_certificates_that_are_not_there_are_told(there, ours):
    async with SandboxVLM() as vlm:
        with pytest.raises(ConfigError, match="its certificates cannot be used .* cert_file"):
            config = settings(vlm, cluster=address(there, ours, cert_file="/missing.pem"))
            await open_engine(config).initialize()
