"""Every answer that was ever paid for, in one SQLite file: written before it is used, found again instead of asked again.

The file may hold other tables. Who keeps some there takes a ``SharedLock`` before opening it, and releases it after closing; sets
``readable`` as its connection's ``text_factory``; and writes in ``writing``.
"""

from vlm_engine.store.answers import AnswerStore
from vlm_engine.store.faults import readable
from vlm_engine.store.lock import SharedLock
from vlm_engine.store.records import StoredAnswer, StoredSearch, Subject
from vlm_engine.store.schema import writing

__all__ = [
    "AnswerStore",
    "SharedLock",
    "StoredAnswer",
    "StoredSearch",
    "Subject",
    "readable",
    "writing",
]
