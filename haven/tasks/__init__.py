"""The tasks of Stash's Tasks page (``task_list``), and tagging from a command line."""
