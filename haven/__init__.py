"""The plugin: what it does inside Stash, in rooms of their own."""
