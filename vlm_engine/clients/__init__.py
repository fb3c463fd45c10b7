"""Clients for vision models over HTTP: one endpoint, or several as one. Only this uses aiohttp."""

from vlm_engine.clients.base import Client
from vlm_engine.clients.openai import OpenAIClient
from vlm_engine.clients.pool import EndpointPool

__all__ = ["Client", "EndpointPool", "OpenAIClient"]
