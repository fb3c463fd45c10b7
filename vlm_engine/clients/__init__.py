"""Asking vision models over HTTP: one endpoint, or many as one. The only package that knows aiohttp."""

from vlm_engine.clients.base import Client
from vlm_engine.clients.openai import OpenAIClient
from vlm_engine.clients.pool import EndpointPool

__all__ = ["Client", "EndpointPool", "OpenAIClient"]
