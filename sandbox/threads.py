"""This has moved to ``vlm_engine.sandbox.threads``; this name of it stays until nothing uses it any more."""

from vlm_engine.sandbox.threads import ServerThread, on_loop, running

__all__ = ["ServerThread", "on_loop", "running"]
