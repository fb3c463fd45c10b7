"""The settings: a table of all of them, the layers they come from, and how the layers are merged."""
