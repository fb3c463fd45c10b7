"""The endpoint has moved to ``vlm_engine.sandbox``; this name of it stays until nothing uses it any more."""

from vlm_engine.sandbox import HOST, MODEL, Behaviour, Counters, Fault, Profile, Refusal, SandboxVLM

__all__ = ["HOST", "MODEL", "Behaviour", "Counters", "Fault", "Profile", "Refusal", "SandboxVLM"]
