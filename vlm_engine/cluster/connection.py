"""A connection to a scheduler: its address, its certificates, and its hub."""

from __future__ import annotations

from contextlib import AsyncExitStack

from distributed import Client, Security
from distributed.comm.core import FatalCommClosedError

from vlm_engine.cluster.hub import Hub
from vlm_engine.cluster.local import local_cluster
from vlm_engine.cluster.roster import INSTALL
from vlm_engine.config.cluster import ClusterConfig
from vlm_engine.errors import ConfigError

_CONNECT_S = 10.0
_SENT_EVERY_S = 0.001
"""Dask's clients send at most every 10 ms, which a task would wait for after the one before."""


async def connect(cluster: ClusterConfig, stack: AsyncExitStack) -> Client:
    """Return a client of the cluster, whose scheduler has a hub then. ``stack`` closes it.

    Raises ``ConfigError``.
    """
    address, security = cluster.address, _security(cluster)
    try:
        if cluster.local_workers:
            address = await stack.enter_async_context(local_cluster(cluster.local_workers))
        client: Client = await stack.enter_async_context(
            Client(  # type: ignore[no-untyped-call]
                address,
                asynchronous=True,
                set_as_default=False,
                security=security,
                timeout=_CONNECT_S,
            )
        )
    except FatalCommClosedError as error:
        raise ConfigError(
            f"cluster: the scheduler at {cluster.address} and this machine do not accept each "
            f"other's certificates ({error}): check ca_file, cert_file and key_file"
        ) from error
    except (OSError, TimeoutError, ValueError) as error:
        raise ConfigError(
            f"cluster: no scheduler answers at {cluster.address} ({error}): start one with "
            "`dask scheduler`, and check the address and, for tls://, the certificates"
        ) from error
    try:
        await client.register_plugin(Hub())
    except ImportError as error:
        raise ConfigError(
            f"cluster: the scheduler at {cluster.address} has no vlm-engine ({error}): "
            f"{INSTALL} there, and start it again"
        ) from error
    if client.scheduler_comm is not None:
        client.scheduler_comm.interval = _SENT_EVERY_S
    return client


def _security(cluster: ClusterConfig) -> Security | None:
    """Return the certificates, those of Dask's own settings where none are set; None where nothing
    is encrypted.

    Raises ``ConfigError``.
    """
    names = {"ca_file": "tls_ca_file", "cert_file": "tls_client_cert", "key_file": "tls_client_key"}
    files = {names[name]: file for name in names if (file := getattr(cluster, name))}
    if cluster.local_workers:
        return None
    if not cluster.address.startswith(("tls://", "wss://")):
        if files:
            raise ConfigError(
                f"cluster: {cluster.address} does not encrypt, so its certificates are of no use: "
                "write tls:// before the host, or leave them out"
            )
        return None
    try:
        security = Security(**files, require_encryption=True)  # type: ignore[no-untyped-call]
        arguments = security.get_connection_args("client")  # type: ignore[no-untyped-call]
    except OSError as error:
        raise ConfigError(
            f"cluster: its certificates cannot be used ({error}): ca_file, cert_file and key_file "
            "name files in PEM form"
        ) from error
    if arguments["ssl_context"] is None:
        raise ConfigError(
            f"cluster: {cluster.address} needs certificates: set ca_file, cert_file and key_file"
        )
    return security
