"""The settings: a table of all, the layers they come from, and how the layers are merged."""
