"""The tiny model of ``sandbox.tiny_model`` in the form that vLLM and SGLang load: a folder with
weights, tokenizer and settings.

The architecture is that of LLaVA 1.5: a CLIP vision tower, a projector of two layers, a Llama.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.tiny_model import (
    CONTEXT,
    EYE_INNER,
    EYE_LAYERS,
    EYE_WIDTH,
    HEADS,
    IMAGE,
    INNER,
    LAYERS,
    PATCH,
    SPECIAL,
    TEMPLATE,
    WIDTH,
    Vocabulary,
    Weights,
    eye,
    language,
)

_IMAGE_TOKEN = "<image>"
_RENAMED = (  # llama.cpp's name, as a pattern, and this form's
    (r"token_embd", "language_model.model.embed_tokens"),
    (r"output_norm", "language_model.model.norm"),
    (r"output", "language_model.lm_head"),
    (r"blk\.(\d)\.attn_norm", r"language_model.model.layers.\1.input_layernorm"),
    (r"blk\.(\d)\.ffn_norm", r"language_model.model.layers.\1.post_attention_layernorm"),
    (r"blk\.(\d)\.attn_output", r"language_model.model.layers.\1.self_attn.o_proj"),
    (r"blk\.(\d)\.attn_(.)", r"language_model.model.layers.\1.self_attn.\2_proj"),
    (r"blk\.(\d)\.ffn_(\w+)", r"language_model.model.layers.\1.mlp.\2_proj"),
    (r"v\.class_embd", "vision_tower.vision_model.embeddings.class_embedding"),
    (r"v\.patch_embd", "vision_tower.vision_model.embeddings.patch_embedding"),
    (r"v\.position_embd", "vision_tower.vision_model.embeddings.position_embedding"),
    (r"v\.pre_ln", "vision_tower.vision_model.pre_layrnorm"),
    (r"v\.post_ln", "vision_tower.vision_model.post_layernorm"),
    (r"v\.blk\.(\d)\.ln(\d)", r"vision_tower.vision_model.encoder.layers.\1.layer_norm\2"),
    (r"v\.blk\.(\d)\.attn_(\w+)", r"vision_tower.vision_model.encoder.layers.\1.self_attn.\2_proj"),
    (r"v\.blk\.(\d)\.ffn_up", r"vision_tower.vision_model.encoder.layers.\1.mlp.fc1"),
    (r"v\.blk\.(\d)\.ffn_down", r"vision_tower.vision_model.encoder.layers.\1.mlp.fc2"),
    (r"mm\.0", "multi_modal_projector.linear_1"),
    (r"mm\.2", "multi_modal_projector.linear_2"),
)


def write(folder: Path) -> Path:
    """Write the model into ``folder``, and return that."""
    folder.mkdir(parents=True, exist_ok=True)
    words = Vocabulary.made()
    _write_safetensors(
        folder / "model.safetensors",
        {_renamed(name): array for name, array in (language(words) | eye()).items()},
    )
    for name, content in _settings(words).items():
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return folder


def _renamed(name: str) -> str:
    stem, dot, kind = name.rpartition(".")
    stem, kind = (stem, dot + kind) if kind in ("weight", "bias") else (name, "")
    for pattern, other in _RENAMED:
        if re.fullmatch(pattern, stem):
            return re.sub(pattern, other, stem) + kind
    raise KeyError(name)


def _write_safetensors(path: Path, weights: Weights) -> None:
    """https://github.com/huggingface/safetensors#format"""
    header, offset = {}, 0
    for name, array in weights.items():
        header[name] = {
            "dtype": "F32",
            "shape": array.shape,
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    head = json.dumps(header).encode()
    data = b"".join(np.ascontiguousarray(array, np.float32).tobytes() for array in weights.values())
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)


def _settings(words: Vocabulary) -> dict[str, Any]:
    places = {token: place for place, token in enumerate(words.tokens)}
    grey = [0.5] * 3
    return {
        "config.json": _model(places),
        "tokenizer.json": _tokenizer(words, places),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|endoftext|>",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "chat_template": TEMPLATE,
            "model_max_length": CONTEXT,
        },
        "processor_config.json": {
            "processor_class": "LlavaProcessor",
            "image_token": _IMAGE_TOKEN,
            "patch_size": PATCH,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
        },
        "preprocessor_config.json": {
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": "LlavaProcessor",
            "size": {"shortest_edge": IMAGE},
            "crop_size": {"height": IMAGE, "width": IMAGE},
            "image_mean": grey,
            "image_std": grey,
        },
    }


def _model(places: dict[str, int]) -> dict[str, Any]:
    text = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "vocab_size": len(places),
        "bos_token_id": places["<|endoftext|>"],
        "eos_token_id": places["<|im_end|>"],
        "tie_word_embeddings": False,
    }
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": EYE_WIDTH,
        "intermediate_size": EYE_INNER,
        "projection_dim": EYE_WIDTH,
        "num_attention_heads": HEADS,
        "num_hidden_layers": EYE_LAYERS,
        "image_size": IMAGE,
        "patch_size": PATCH,
        "hidden_act": "gelu",
    }
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "dtype": "float32",
        "image_token_index": places[_IMAGE_TOKEN],
        "image_seq_length": (IMAGE // PATCH) ** 2,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": False,
        "text_config": text,
        "vision_config": vision,
    }


def _tokenizer(words: Vocabulary, places: dict[str, int]) -> dict[str, Any]:
    flags = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    bytes_ = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    return {
        "version": "1.0",
        "added_tokens": [{"id": places[token], "content": token, **flags} for token in SPECIAL],
        "pre_tokenizer": bytes_,
        "decoder": bytes_,
        "model": {
            "type": "BPE",
            "vocab": {token: place for token, place in places.items() if token not in SPECIAL},
            "merges": [" ".join(pair) for pair in words.merges],
        },
    }


if __name__ == "__main__":
    sys.stdout.write(f"wrote {write(Path(sys.argv[1] if len(sys.argv) > 1 else '.'))}\n")
