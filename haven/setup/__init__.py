"""What the plugin needs before its packages are there. It uses only the standard library."""


class SetupError(Exception):
    """This machine cannot run the plugin as it is. The message says why, and what to do about
    it.
    """
