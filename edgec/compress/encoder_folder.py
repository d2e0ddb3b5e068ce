"""BERT- and BART-type models as the Hugging Face folders that their front ends read: names, config.json, modules.

The table of token types, which a Checkpoint has in its positions, is written as zeros; tables of positions of BART get
their unused rows back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgec.frontend import bart, bert
from edgec.frontend.checkpoint import Checkpoint, FloatArray
from edgec.frontend.encoder_config import EncoderConfig
from edgec.frontend.model_config import POSITIONS, ModelConfig, learned_positions
from edgec.frontend.seq2seq_config import HEAD_BIAS, Seq2SeqConfig

ACTIVATIONS = {"erf": "gelu", "tanh": "gelu_new", "gelu": "gelu", "gelu_tanh": "gelu_new"}


def family_tensors(config: ModelConfig, tensors: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """A Checkpoint's tensors as the files of its family keep them."""
    if isinstance(config, Seq2SeqConfig):
        names = bart.family_names(config)
        rows = ((bart.OFFSET, 0), (0, 0))
        made = {names[n]: np.pad(t, rows) if learned_positions(n) else t for n, t in tensors.items()}
        bias = tensors.get(HEAD_BIAS, np.zeros(config.vocab_size, np.float32))
        return made | {bart.BIAS: np.ascontiguousarray(bias[None])}
    names = {ours: theirs for theirs, ours in bert.family_names(config).items()}
    made = {names[name]: tensor for name, tensor in tensors.items() if name != POSITIONS}
    return made | {bert.ORDER: tensors[POSITIONS], bert.TYPES: np.zeros((1, config.hidden_dim), np.float32)}


def family_config(config: ModelConfig) -> dict[str, Any]:
    """config.json of a model of this shape, but for the tokens with which texts begin and end."""
    same = {"model_type": config.family, "vocab_size": config.vocab_size, "dtype": "float32"}
    same |= {"max_position_embeddings": config.max_seq_len}
    if isinstance(config, Seq2SeqConfig):
        return same | _bart(config)
    assert isinstance(config, EncoderConfig)
    return same | {
        "architectures": ["BertModel"],
        "hidden_size": config.hidden_dim,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "intermediate_size": config.ffn_dim,
        "hidden_act": ACTIVATIONS[config.gelu],
        "layer_norm_eps": config.norm_eps,
        "type_vocab_size": 1,
    }


def _bart(config: Seq2SeqConfig) -> dict[str, Any]:
    sizes = {theirs: getattr(config, ours) for ours, (theirs, _) in bart.SIZES.items()}
    return (
        sizes
        | {
            "architectures": ["BartForConditionalGeneration"],
            "is_encoder_decoder": True,
            "activation_function": ACTIVATIONS[config.activation],
            "scale_embedding": config.embed_scale != 1,
            "tie_word_embeddings": True,
        }
        | start_tokens(config)
    )


def start_tokens(config: ModelConfig) -> dict[str, Any]:
    """With which tokens a decoder begins to write about a source; {} of other kinds of models."""
    names = ("decoder_start_token_id", "forced_bos_token_id")
    return dict(zip(names, [*config.decoder_start, None], strict=False)) if isinstance(config, Seq2SeqConfig) else {}


def module_files(model: Checkpoint) -> dict[str, str]:
    """What sentence-transformers keeps beside an encoder, by file name."""
    config = model.config
    if not isinstance(config, EncoderConfig):
        return {}
    kinds = ["Transformer", "Pooling", *(["Normalize"] if config.normalize else [])]
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    modes = {name: pooling == config.pooling for name, pooling in bert.POOLING.items()}
    pooling = {"word_embedding_dimension": config.hidden_dim, **modes}
    return {"modules.json": json.dumps(modules, indent=1) + "\n", "1_Pooling/config.json": json.dumps(pooling) + "\n"}
