"""Scripted servers that know the test pictures."""

from __future__ import annotations

import base64
import json

from tests.clients.helpers import Scripted, completion
from vlm_engine.checkup.cards import CARDS, card_jpeg

_CARDS = {
    base64.b64encode(card_jpeg(card.number, width)).decode("ascii"): card
    for card in CARDS
    for width in (512, 1024)
}


def cards_of(request):
    """Return the cards that a request shows, None for each picture that is no card."""
    content = request["messages"][-1]["content"]
    urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    return [_CARDS.get(url.partition(",")[2]) for url in urls]


def naming(tags):
    """Return the reply to a question for a list."""
    return completion(json.dumps({"tags": sorted(tags)}))


def seeing(script):
    """Return a server that answers what ``script`` makes of each request and its first card."""

    def answer(request):
        card, *_ = cards_of(request) or [None]
        return script(request, card)

    return Scripted(answer, models=["m"])
