"""Every answer that was ever paid for, in one SQLite file: written before it is used, found again instead of asked again.

The file may hold other tables. Who keeps some there takes a ``Hold`` before opening it, and releases it after closing.
"""

from vlm_engine.store.answers import AnswerStore
from vlm_engine.store.hold import Hold
from vlm_engine.store.records import StoredAnswer, StoredSearch, Subject

__all__ = ["AnswerStore", "Hold", "StoredAnswer", "StoredSearch", "Subject"]
