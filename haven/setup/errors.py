"""The one error of this package."""


class SetupError(Exception):
    """This machine cannot run the plugin as it is. The message says why, and what to do about it."""
