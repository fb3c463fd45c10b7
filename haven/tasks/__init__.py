"""What the plugin does when it is started: the tasks of Stash's Tasks page, and the same job from a command line."""
