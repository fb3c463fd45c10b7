"""The parts of the sandbox's Stash: what it stores, what it answers, how it runs plugins.

``database`` keeps the state in SQLite, as Stash does, so that LIKE, foreign keys and transactions
are the real thing. ``filters`` reads it, ``tag_rules``, ``marker_rules`` and ``bulk`` write it
under the server's rules, ``library`` does both for tests. ``resolvers`` binds all that to
``schema.graphql``; ``server`` speaks HTTP, ``sessions`` guards it. ``manifest``, ``jobs``,
``process`` and ``plugins`` are the plugin runner. ``sandbox/stash.py`` puts them together.
"""
