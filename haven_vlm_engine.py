"""Tag video and picture files with the plugin's settings, without Stash.

``Tagger(settings, store_path)`` is an asynchronous context manager; ``engine_config`` gives the
engine's own configuration.
"""

from haven.settings.settings import names_in_stash
from haven.tagger import Tagger, engine_config

__all__ = ["Tagger", "engine_config", "names_in_stash"]
