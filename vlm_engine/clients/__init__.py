"""Clients for vision models over HTTP: one endpoint, or several as one. The only user of aiohttp."""

from vlm_engine.clients.base import Client
from vlm_engine.clients.openai import OpenAIClient
from vlm_engine.clients.pool import EndpointPool

__all__ = ["Client", "EndpointPool", "OpenAIClient"]
