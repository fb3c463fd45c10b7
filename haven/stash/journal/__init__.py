"""The journal: planned changes, what became of them, and so what in Stash is the plugin's. Beside
them what runs saw, and what people decided about it.

SQLite, in the answer store's file, with tables and a version of their own. Every plan is on disk
before its first write reaches Stash. Layers: ``journal`` > ``runs`` > ``database`` > ``schema``.
"""

from haven.stash.journal.journal import Journal, OpenPlan, PlanFacts
from haven.stash.journal.schema import SCHEMA_VERSION

__all__ = ["SCHEMA_VERSION", "Journal", "OpenPlan", "PlanFacts"]
