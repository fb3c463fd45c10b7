"""A real llama.cpp reuses the text before the picture, whatever a question is about."""

import pytest

from benchmarks.prompts import CONTEXT_TOKENS, counts, system_text
from sandbox.subjects import LlamaCpp


@pytest.mark.parametrize("slots", [1, 3])
def test_every_later_question_has_the_text_before_the_picture_cached(llama_server, tmp_path, slots):
    with LlamaCpp(llama_server, tmp_path, slots=slots, context_tokens=CONTEXT_TOKENS) as server:
        first, *later = counts(server.subject)
        before = len(system_text(server.subject))  # a letter is a token
    assert first.cached < before
    assert {count.case.name: count.cached for count in later if count.cached < before} == {}
    assert max(count.prompt - count.cached for count in later if count.case.pictures == 1) < before
