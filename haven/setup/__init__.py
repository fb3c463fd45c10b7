"""Code that runs before the plugin's packages are there. It uses only the standard library."""


class SetupError(Exception):
    """This machine cannot run the plugin as it is. The message says why, and what to do."""


INCOMPLETE = (
    "The plugin is being updated, or its files are incomplete. Try again in a minute; if this "
    "stays, install it again."
)
"""The message when a module of the plugin cannot be imported."""
