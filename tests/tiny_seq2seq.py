"""Random small BART-type models, in memory and as Hugging Face folders with a byte-level tokenizer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import tiny_models

from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.seq2seq_config import Seq2SeqConfig

SIZES: dict[str, Any] = {
    **{"vocab_size": 97, "d_model": 40, "encoder_layers": 2, "decoder_layers": 2, "max_position_embeddings": 64},
    **{"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 56, "decoder_ffn_dim": 48},
}
WORDS = ("<s>", "<pad>", "</s>", "<unk>", "the", "a", "boat", "river", "blue", "old", "was", "ran", ".")


def config(**changes: Any) -> Seq2SeqConfig:
    """A small model, with changes."""
    sizes: dict[str, Any] = {
        **{"family": "bart", "vocab_size": 97, "hidden_dim": 40, "n_layers": 2, "n_heads": 5, "ffn_dim": 52},
        **{"encoder_layers": 3, "encoder_heads": 4, "encoder_ffn_dim": 44, "norm_eps": 1e-5, "max_seq_len": 64},
        **{"activation": "gelu", "decoder_start": (2, 1), **changes},
    }
    return Seq2SeqConfig.of(**sizes)


def source(made: Seq2SeqConfig, seed: int = 0) -> Checkpoint:
    """Random weights; a text stands between the tokens 1 and 2."""
    found = tiny_models.checkpoint(made, seed)
    assert found.tokenizer is not None
    return replace(found, tokenizer=replace(found.tokenizer, bos_id=1, eos_ids=(2,), add_bos=True, add_eos=True))


def saved(folder: Path, bias: bool = False, forced: int | None = None, **options: Any) -> Any:
    """A random transformers model, saved with a tokenizer; bias: its logits have one that is not zero; forced: the
    first token that it writes."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(2)
    settings = BartConfig(**{**SIZES, **options})
    model = BartForConditionalGeneration(settings).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "final_layer_norm.weight" in name:  # what a token is turned into another one by
                parameter.normal_(0.0, 1.0)
            elif "norm" in name and name.endswith("weight"):
                parameter.normal_(1.0, 0.3)
            else:
                parameter.normal_(0.0, 0.3 if parameter.ndim == 1 else 1.5 * parameter.shape[1] ** -0.5)
        if bias:
            model.final_logits_bias.normal_(0.0, 0.5)
    model.generation_config.forced_bos_token_id = forced
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def write_tokenizer(folder: Path) -> None:
    """Whole words, <s> before and </s> behind a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocab = {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
