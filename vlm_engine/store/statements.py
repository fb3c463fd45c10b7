"""Statements about many subjects or answers at once.

SQLite lets other threads run before and after every statement, and those then have the processor for as long as they like: what
takes one statement for each of many pictures is waited for as often.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TypeVar

_T = TypeVar("_T")
_LOT = 16


def lots(entries: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """The entries, so many at a time as one statement takes."""
    for first in range(0, len(entries), _LOT):
        yield entries[first : first + _LOT]


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _table(rows: int, columns: int) -> str:
    return ", ".join([f"({_marks(columns)})"] * rows)


@cache
def select_subjects(count: int) -> str:
    """Number, time of last use, media, model and wording of those that there are, of ``count`` given by the last three."""
    return (
        f"WITH wanted (media, model, wording) AS (VALUES {_table(count, 3)})"
        " SELECT id, used, media, model, wording FROM wanted CROSS JOIN answer_subject USING (media, model, wording)"
    )


@cache
def upsert_subjects(count: int, noted_s: float) -> str:
    """Media, model, wording and time of use for each, of which the last is noted once it is ``noted_s`` later."""
    return (
        f"INSERT INTO answer_subject (media, model, wording, used) VALUES {_table(count, 4)} ON CONFLICT (media, model, wording)"
        f" DO UPDATE SET used = excluded.used WHERE used < excluded.used - {noted_s}"
    )


@cache
def insert_answers(count: int) -> str:
    """Media, model and wording of each answer's subject, which has a number, and all columns of the answer but its own."""
    told = "look_ms, frame_s, form, max_side, quality, said, endpoint, served_by, prompt_tokens, answer_tokens, written"
    return (
        f"WITH fresh (media, model, wording, {told}) AS (VALUES {_table(count, 14)})"
        f" INSERT INTO answer SELECT NULL, id, {told} FROM fresh CROSS JOIN answer_subject USING (media, model, wording)"
    )


@cache
def update_subjects(count: int) -> str:
    """A time of use, and the numbers of the subjects."""
    return f"UPDATE answer_subject SET used = ? WHERE id IN ({_marks(count)})"
