"""Random small encoders, in memory and as Hugging Face folders with a WordPiece tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgec.frontend.encoder_config import EncoderConfig

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "max_position_embeddings": 64,
}
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "a", "boat", "river", "blue", "old", "##s", "##ly", ".")


def config(**changes: Any) -> EncoderConfig:
    """A small encoder, with changes."""
    sizes: dict[str, Any] = {
        **{"family": "bert", "vocab_size": 97, "hidden_dim": 40, "n_layers": 2, "n_heads": 5, "ffn_dim": 52},
        **{"norm_eps": 1e-12, "max_seq_len": 64, "normalize": True, **changes},
    }
    heads = sizes["n_heads"]
    return EncoderConfig(rope_inv_freq=(), n_kv_heads=heads, head_dim=sizes["hidden_dim"] // heads, **sizes)


def saved(
    folder: Path, prefix: bool = False, modules: bool = True, pooling: str = "mean_tokens", **options: Any
) -> Any:
    """A random transformers model, saved with a tokenizer; prefix: as a part of a model for masked words."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertModel

    torch.manual_seed(2)
    settings = BertConfig(**{**SIZES, **options})
    whole = BertForMaskedLM(settings).eval() if prefix else BertModel(settings).eval()
    with torch.no_grad():
        for name, parameter in whole.named_parameters():
            if "LayerNorm.weight" in name:
                parameter.normal_(1.0, 0.3)
            else:
                parameter.normal_(0.0, 0.3 if parameter.ndim == 1 else 1.5 * parameter.shape[1] ** -0.5)
    whole.save_pretrained(folder)
    write_tokenizer(folder)
    if modules:
        write_modules(folder, pooling)
    return whole.bert if prefix else whole


def write_modules(folder: Path, pooling: str, kinds: tuple[str, ...] = ("Transformer", "Pooling", "Normalize")) -> None:
    """What sentence-transformers adds."""
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    names = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    modes = {f"pooling_mode_{name}": name == pooling for name in names}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 40, **modes}))


def write_tokenizer(folder: Path) -> None:
    """WordPiece, lower case, [CLS] before and [SEP] behind a text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocab = {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
