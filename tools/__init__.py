"""Commands that keep the project honest: generated parts of the docs, and checks of what is
installed.
"""
