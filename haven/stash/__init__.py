"""Everything that talks to Stash: reading items, planning a change, journaling it, writing it and
undoing it.

Nothing outside this package knows Stash's GraphQL. Calls block, and serve one caller at a time.

- ``handler``: the entry, ``MediaHandler``
- ``reading``, ``tags``, ``markers``: the requests for items, tags and markers
- ``plan``: what is to change on an item (pure); ``undo``: the plan that takes an earlier one back
  (pure)
- ``apply``: plans items, opens the plans in the ``journal``, and has ``writing`` carry them out
- ``evidence``: what a run saw of an item (pure); ``decisions``: what people decide about the spans
  of a scene
- ``recover``: what is done after a kill, and after people changed what the plugin had written
- ``transport``, ``http``, ``reply``: how a request reaches Stash, and the check of its reply;
  ``stream``: video over HTTP
- ``server``: the handshake, and Stash's job queue
"""
