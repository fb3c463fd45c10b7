"""A chat completion as verdicts, or the reason why it is none. Pure.

Read strictly where the reply is the JSON that was asked for, leniently where it is something else
that can only mean one thing, and refused where it could mean two: an error never becomes an answer.
"""

from vlm_engine.reply.reading import Reply, read
from vlm_engine.reply.text import beginning_of, shortened, was_cut_off, was_withheld
from vlm_engine.reply.usage import tokens

__all__ = ["Reply", "beginning_of", "read", "shortened", "tokens", "was_cut_off", "was_withheld"]
