"""A vision-language model endpoint that needs no model: real HTTP, real pictures, the OpenAI protocol.

The picture is the only channel: the server decodes the JPEG it is sent and reads from it what ``vlm_engine.testing.glyphs``
drew, and knows nothing else of the video. ::

    async with SandboxVLM(Behaviour(miss_rate=0.05)) as vlm:     # in an asyncio program
        ...ask vlm.url...
    with running(SandboxVLM()) as vlm:                           # anywhere else, on a thread of its own
        vlm.behaviour.fault = Fault.HANG

With a ``Profile`` it has the pages, the refusals and the oddities of a server that people run.
``vlm-engine serve-sandbox --profile ollama`` starts one by hand.
"""

from vlm_engine.testing.behaviour import HOST, MODEL, Behaviour, Counters, Fault, Profile, Refusal
from vlm_engine.testing.server import SandboxVLM

__all__ = ["HOST", "MODEL", "Behaviour", "Counters", "Fault", "Profile", "Refusal", "SandboxVLM"]
