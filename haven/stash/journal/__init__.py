"""The journal: what was going to be changed, what was, and so what in Stash is ours. SQLite, in the answer store's file.

Every change plan is on disk before its first write reaches Stash. Its tables have a version of their own and know nothing of
the store's. Layers: ``book`` > ``rows | runs`` > ``database | locks`` > ``schema``.
"""

from haven.stash.journal.journal import Journal, OpenPlan, PlanFacts
from haven.stash.journal.schema import SCHEMA_VERSION

__all__ = ["SCHEMA_VERSION", "Journal", "OpenPlan", "PlanFacts"]
