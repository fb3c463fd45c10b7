"""Code that runs before the plugin's packages are there. It uses only the standard library."""


class SetupError(Exception):
    """This machine cannot run the plugin as it is. The message says why, and what to do."""
