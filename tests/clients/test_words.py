"""Descriptions, templates and synonyms on their way to a server and back."""

import asyncio

import pytest

from tests.clients.test_openai import TAGS, Scripted, client_of, completion, present, question
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.types import Form

WORDS = {
    "tag_list": TAGS,
    "tag_descriptions": {
        "Foul": 'a player is fouled: the referee says "foul"',
        "Turnover": "the ball changes hands",
    },
}


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("schema", [True, False])
def test_described_tags_are_answered_by_their_names(form, schema):
    async def main():
        async with (
            SandboxVLM(Behaviour(offers_schema=schema)) as vlm,
            client_of(vlm.url, **WORDS) as client,
        ):
            return await client.ask(question("Foul", "Break-away", form=form))

    answer = asyncio.run(main())
    assert present(answer) == ["Foul", "Break-away"]
    assert all(verdict.probability is not None for verdict in answer.verdicts.values())


@pytest.mark.parametrize("schema", [True, False])
def test_a_template_of_the_users_is_answered_too(schema):
    words = {
        **WORDS,
        "system_prompt": "A match.\n{tags}\n\n{rules}",
        "user_prompt": "{question} ({tag_count})",
    }

    async def main():
        async with (
            SandboxVLM(Behaviour(offers_schema=schema)) as vlm,
            client_of(vlm.url, **words) as client,
        ):
            return await client.ask(question("Foul"))

    assert present(asyncio.run(main())) == ["Foul"]


def test_a_synonym_in_a_reply_counts_as_its_tag_and_is_not_asked_for():
    async def main():
        async with (
            Scripted(lambda asked: (200, completion('{"tags": ["Personal foul"]}'))) as server,
            client_of(server.url, tag_list=TAGS, synonyms={"Foul": ["personal foul"]}) as client,
        ):
            return await client.ask(question("Foul")), server.asked

    answer, asked = asyncio.run(main())
    assert present(answer) == ["Foul"]
    assert "ersonal foul" not in str(asked)
