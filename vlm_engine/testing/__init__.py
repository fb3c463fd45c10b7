"""An endpoint that needs no model: real HTTP, real pictures, the OpenAI protocol.

The server decodes the JPEG that it is sent, reads what ``vlm_engine.testing.glyphs`` drew into it
or which shapes of the check's test pictures it shows, and knows nothing else of the video. ::

    async with SandboxVLM(Behaviour(miss_rate=0.05)) as vlm:     # in an asyncio program
        ...send requests to vlm.url...
    with running(SandboxVLM()) as vlm:                           # elsewhere: on its own thread
        vlm.behaviour.fault = Fault.HANG

With a ``Profile`` it has the pages, the refusals and the oddities of a server that people run;
``UNSOUND`` says how to make it one whose answers cannot be trusted, as in
``Behaviour(**UNSOUND["stale"])``. ``vlm-engine serve-sandbox --profile ollama --unsound stale``
starts one by hand.
"""

from vlm_engine.testing.behaviour import (
    HOST,
    MODEL,
    UNSOUND,
    Behaviour,
    Counters,
    Fault,
    Profile,
    Refusal,
    Sight,
)
from vlm_engine.testing.server import SandboxVLM
from vlm_engine.testing.threads import running

__all__ = [
    "HOST",
    "MODEL",
    "UNSOUND",
    "Behaviour",
    "Counters",
    "Fault",
    "Profile",
    "Refusal",
    "SandboxVLM",
    "Sight",
    "running",
]
