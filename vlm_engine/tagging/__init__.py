"""Tagging of one video or picture: what is asked of which model, what is kept, and the result."""
