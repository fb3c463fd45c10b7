"""Every answer that was ever paid for, in one SQLite file.

An answer is stored before it is used, and found again instead of asked again. The file may hold
other tables. Code that keeps some there takes a ``SharedLock`` before it opens the file and
releases it after closing, sets ``readable`` as its connection's ``text_factory``, and writes in
``writing``.
"""

from vlm_engine.store.answers import AnswerStore
from vlm_engine.store.base import Store
from vlm_engine.store.lock import SharedLock
from vlm_engine.store.recovery import readable
from vlm_engine.store.schema import (
    PairCounts,
    PairKey,
    StoredAnswer,
    StoredSearch,
    Subject,
    TagPairs,
    writing,
)

__all__ = [
    "AnswerStore",
    "PairCounts",
    "PairKey",
    "SharedLock",
    "Store",
    "StoredAnswer",
    "StoredSearch",
    "Subject",
    "TagPairs",
    "readable",
    "writing",
]
