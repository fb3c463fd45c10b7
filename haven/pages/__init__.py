"""Answers to the plugin's pages inside Stash: each process answers one batch of calls.

Layers: ``dispatch`` > ``operations`` > one module for each group of operations > ``contract``.
Modules that need numpy, PyAV, aiohttp or pydantic are imported by the operations that use them:
the others answer sooner without.
"""
