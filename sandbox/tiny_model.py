"""A vision-language model of a few hundred kilobytes with random weights, for trying a real server
without a download.

Its answers are nonsense within the schema of the request: it tests the conversation. Only its
taste is meant: one channel of its hidden state is the same for every token, so the output weights
of that channel are the logits of all tokens at all times. It likes "yes" and "no" best, then the
characters of JSON, and no white space. ::

    python -m sandbox.tiny_model FOLDER
    llama-server -m FOLDER/tiny.gguf --mmproj FOLDER/tiny.mmproj.gguf --jinja -np 4 -c 16384
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sandbox import gguf

Array = NDArray[np.float32]
Weights = dict[str, Array]

WIDTH, INNER, HEADS, LAYERS = 64, 128, 2, 2
EYE_WIDTH, EYE_INNER, EYE_LAYERS, PATCH, IMAGE = 32, 64, 2, 14, 56
CONTEXT = 16384
CONSTANT = 8.0
WORDS = ("yes", "no", "true", "false")
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<image>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Vocabulary:
    """Every byte, a few words that are built from them by ``merges``, and the special tokens behind
    both.
    """

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]

    @classmethod
    def made(cls) -> Vocabulary:
        """Return the one vocabulary."""
        letters = byte_letters()
        tokens, merges = [*letters], []
        for word in WORDS:
            joined = word[0]
            for letter in word[1:]:
                merges.append((joined, letter))
                joined += letter
                tokens.append(joined)
        return cls((*tokens, *SPECIAL), tuple(dict.fromkeys(merges)))

    def taste(self) -> Array:
        """Return the logit of each token."""
        liking = {**dict.fromkeys(("yes", "no"), 6.0), **dict.fromkeys('"{}[]:,', 5.0)}
        blank = set(byte_letters()[:33]) | set(byte_letters()[127:161])
        return np.array(
            [liking.get(token, -9.0 if token in blank else 0.0) for token in self.tokens],
            np.float32,
        )


def byte_letters() -> list[str]:
    """Return the printable letter that stands for each byte in byte-level vocabularies, GPT-2's and
    those since.
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


class _Chance:
    """Random weights, the same every time."""

    def __init__(self) -> None:
        self._numbers = np.random.default_rng(1)

    def weights(self, *shape: int, scale: float = 0.2) -> Array:
        return (self._numbers.standard_normal(shape) * scale).astype(np.float32)

    def keeping_constant(self, *shape: int) -> Array:
        """Weights that add nothing to the constant channel."""
        weights = self.weights(*shape)
        weights[0] = 0
        return weights


def language(vocabulary: Vocabulary) -> Weights:
    """Return the language half, with llama.cpp's names."""
    chance, ones = _Chance(), np.ones(WIDTH, np.float32)
    embedding = chance.weights(len(vocabulary.tokens), WIDTH, scale=1.0)
    embedding[:, 0] = CONSTANT
    output = chance.weights(len(vocabulary.tokens), WIDTH, scale=0.08)
    output[:, 0] = vocabulary.taste() / 4
    found: Weights = {
        "token_embd.weight": embedding,
        "output_norm.weight": ones,
        "output.weight": output,
    }
    for layer in range(LAYERS):
        named = f"blk.{layer}."
        found |= {named + "attn_norm.weight": ones, named + "ffn_norm.weight": ones}
        found |= {f"{named}attn_{part}.weight": chance.weights(WIDTH, WIDTH) for part in "qkv"}
        found |= {
            f"{named}ffn_{part}.weight": chance.weights(INNER, WIDTH) for part in ("gate", "up")
        }
        found[named + "attn_output.weight"] = chance.keeping_constant(WIDTH, WIDTH)
        found[named + "ffn_down.weight"] = chance.keeping_constant(WIDTH, INNER)
    return found


def eye() -> Weights:
    """Return the vision half, with llama.cpp's names."""
    chance = _Chance()
    found: Weights = {
        "v.class_embd": chance.weights(EYE_WIDTH),
        "v.patch_embd.weight": chance.weights(EYE_WIDTH, 3, PATCH, PATCH, scale=0.05),
        "v.position_embd.weight": chance.weights((IMAGE // PATCH) ** 2 + 1, EYE_WIDTH),
        "mm.0.weight": chance.weights(WIDTH, EYE_WIDTH),
        "mm.0.bias": np.zeros(WIDTH, np.float32),
        "mm.2.weight": chance.keeping_constant(WIDTH, WIDTH),
        "mm.2.bias": np.array([CONSTANT, *[0] * (WIDTH - 1)], np.float32),
    }
    norms = ["v.pre_ln", "v.post_ln"] + [
        f"v.blk.{layer}.ln{half}" for layer in range(EYE_LAYERS) for half in (1, 2)
    ]
    for norm in norms:
        found |= {
            f"{norm}.weight": np.ones(EYE_WIDTH, np.float32),
            f"{norm}.bias": np.zeros(EYE_WIDTH, np.float32),
        }
    for layer in range(EYE_LAYERS):
        shapes = {f"attn_{part}": (EYE_WIDTH, EYE_WIDTH) for part in ("q", "k", "v", "out")}
        shapes |= {"ffn_up": (EYE_INNER, EYE_WIDTH), "ffn_down": (EYE_WIDTH, EYE_INNER)}
        for part, shape in shapes.items():
            found[f"v.blk.{layer}.{part}.weight"] = chance.weights(*shape)
            found[f"v.blk.{layer}.{part}.bias"] = np.zeros(shape[0], np.float32)
    return found


def write_gguf(folder: Path) -> tuple[Path, Path]:
    """Write the model for llama.cpp: the paths of its language half and of its vision half
    (``--mmproj``).
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = Vocabulary.made()
    model, projector = folder / "tiny.gguf", folder / "tiny.mmproj.gguf"
    gguf.write(model, _language_settings(words), language(words))
    gguf.write(projector, _eye_settings(), eye())
    return model, projector


def _language_settings(words: Vocabulary) -> dict[str, gguf.Setting]:
    special = len(words.tokens) - len(SPECIAL)
    return {
        "general.architecture": "llama",
        "general.name": "tiny",
        "general.file_type": 0,
        "llama.context_length": CONTEXT,
        "llama.embedding_length": WIDTH,
        "llama.block_count": LAYERS,
        "llama.feed_forward_length": INNER,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": WIDTH // HEADS,
        "llama.vocab_size": len(words.tokens),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": words.tokens,
        "tokenizer.ggml.token_type": [1] * special + [3] * len(SPECIAL),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in words.merges],
        "tokenizer.ggml.bos_token_id": special + 2,
        "tokenizer.ggml.eos_token_id": special + 1,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


def _eye_settings() -> dict[str, gguf.Setting]:
    sizes = {
        "image_size": IMAGE,
        "patch_size": PATCH,
        "embedding_length": EYE_WIDTH,
        "feed_forward_length": EYE_INNER,
        "block_count": EYE_LAYERS,
        "projection_dim": EYE_WIDTH,
        "attention.head_count": HEADS,
    }
    return {
        "general.architecture": "clip",
        "general.file_type": 0,
        "clip.has_vision_encoder": True,
        "clip.projector_type": "mlp",
        "clip.use_gelu": True,
        **{f"clip.vision.{name}": size for name, size in sizes.items()},
        "clip.vision.attention.layer_norm_epsilon": 1e-5,
        "clip.vision.image_mean": [0.5] * 3,
        "clip.vision.image_std": [0.5] * 3,
    }


if __name__ == "__main__":
    sys.stdout.write(
        "wrote {} and {}\n".format(*write_gguf(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
    )
