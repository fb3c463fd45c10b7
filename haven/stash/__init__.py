"""The parts of ``haven_media_handler``: reading Stash, planning a change, journaling it, writing it, taking it back.

Nothing outside this package and that module knows Stash's GraphQL. Everything here blocks and serves
one caller at a time: run it on one worker thread. Layers, each seeing only those to its right:
``apply`` > ``writing | undo`` > ``plan_markers`` > ``plan_tags | tagging | settle`` >
``plan | library | tags | markers | jobs | journal | server`` > ``transport | changes`` > ``reply | wire`` > ``errors`` >
``values``.
"""
