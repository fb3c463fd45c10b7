"""The check of a set-up: what endpoints, machine and files can do, before a night is spent on it.

Each endpoint is asked about test pictures (``cards``), in the very form of the questions about
frames. What its answers mean is decided without I/O.
"""
