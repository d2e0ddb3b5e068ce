"""A compressed model as a standard Hugging Face folder, with two files more that only edgec reads.

config.json, model.safetensors (float32), tokenizer.json, ...   what any framework loads: the weights as they act,
                                                                dequantised, with branches added, products multiplied
                                                                out, shared tensors repeated, and with idle parts where
                                                                it must have some (compress/standard_form.py)
edgec.json          history (`stages`), patterns, sharing, and what config.json cannot say exactly
edgec.safetensors   packed matrices, branches and the matrices beside them, factors, as edgec computes with them
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgec.compress.encoder_folder import family_config, family_tensors, module_files, start_tokens
from edgec.compress.standard_form import readers_of, standard_config, standard_tensors
from edgec.errors import ModelError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.frontend.layouts import changed_by_storing, in_family_names
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.rope import original_context, rotary
from edgec.frontend.safetensors_file import read_header
from edgec.frontend.seq2seq_config import has_encoder
from edgec.frontend.structure import factor_names
from edgec.output import write_file

if TYPE_CHECKING:
    from edgec.compress.quantized import QuantizedTensor

FORMAT = "edgec-checkpoint/1"
MARK, EXACT = "edgec.json", "edgec.safetensors"
PARTS = ("packed", "scale", "zero", "minimum")
ARCHITECTURES = {
    **{"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM"},
    **{"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "phi3": "Phi3ForCausalLM"},
    **{"gemma2": "Gemma2ForCausalLM", "gemma3_text": "Gemma3ForCausalLM"},
    **{"gpt2": "GPT2LMHeadModel", "gpt_neo": "GPTNeoForCausalLM"},
}
ACTIVATIONS = {"silu": "silu", "gelu_tanh": "gelu_pytorch_tanh"}


def write_folder(folder: Path, model: Checkpoint) -> None:
    """Write the model into an existing or new folder. Raises OutputError if the disk refuses."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    tensors = standard_tensors(model)
    standard = standard_config(model.config)
    stored = family_tensors if has_encoder(standard) else in_family_names
    write_file(folder / "model.safetensors", save(stored(standard, tensors), {"format": "pt"}))
    kept = {name: tensors[name] for name in changed_by_storing(standard, tensors)}
    del tensors
    write_file(folder / "config.json", _json(hf_config(model)))
    for name, content in (_tokenizer_files(model) | module_files(model)).items():
        write_file(folder / name, content)
    exact: dict[str, Any] = {}
    grids: dict[str, dict[str, int]] = {}
    for name, read in model.packed.items():
        tensor = read()
        grids[name] = {"k": tensor.k, "bits": tensor.bits, "group_size": tensor.group_size}
        exact |= {f"{name}.{part}": array for part in PARTS if (array := getattr(tensor, part)) is not None}
    for name, branch in model.branches.items():
        exact |= {f"{name}.lora_a": branch.a, f"{name}.lora_b": branch.b}
        if name not in model.packed:
            exact[f"{name}.base"] = model.tensor(name)
    factors = [part for name in model.factors for part in factor_names(name) if part in model.readers]
    exact |= {name: model.tensor(name) for name in factors if name not in (*model.packed, *model.branches)}
    exact |= {f"{attn}.k_centre": centre for attn, centre in model.key_centres.items()}
    exact |= {f"{name}.kept": tensor for name, tensor in kept.items()}
    if exact:
        write_file(folder / EXACT, save({name: np.ascontiguousarray(array) for name, array in exact.items()}))
    record = {
        "format": FORMAT,
        "stages": list(model.stages),
        "packed": grids,
        "branches": sorted(model.branches),
        "patterns": {name: list(pattern) for name, pattern in model.patterns.items()},
        "key_centres": sorted(model.key_centres),
        "heads": [model.config.n_heads, model.config.n_kv_heads],
        "without_attention": list(model.config.without_attention),
        "factors": dict(model.factors),
        "shared": dict(model.shared),
        "kept": sorted(kept),
        "rope_inv_freq": list(model.config.rope_inv_freq),
        "local_inv_freq": list(model.config.local_inv_freq),
        "rope_factor": model.config.rope_factor,
        "provenance": model.provenance | {"source": Path(str(model.provenance.get("source", ""))).name},
    }
    write_file(folder / MARK, _json(record))


def with_exact_parts(folder: Path, model: Checkpoint) -> Checkpoint:
    """What `edgec.json` adds to a folder that was loaded as any other. Raises ModelError if it is damaged."""
    try:
        record = json.loads((folder / MARK).read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ModelError(f"{folder / MARK} is of format {record['format']!r}; this edgec reads {FORMAT!r}.")
        stored = read_header(folder / EXACT) if (folder / EXACT).is_file() else {}
        config = replace(
            model.config,
            rope_inv_freq=tuple(float(f) for f in record["rope_inv_freq"]),
            local_inv_freq=tuple(float(f) for f in record.get("local_inv_freq", ())),
            rope_factor=float(record["rope_factor"]),
            without_attention=tuple(int(layer) for layer in record.get("without_attention", ())),
        )
        n_heads, n_kv_heads = record.get("heads", (config.n_heads, config.n_kv_heads))
        config = replace(config, n_heads=int(n_heads), n_kv_heads=int(n_kv_heads))
        readers = readers_of(model, config) | {name: stored[f"{name}.kept"].read for name in record.get("kept", ())}
        packed: dict[str, Callable[[], QuantizedTensor]] = {}
        for name, grid in record["packed"].items():
            sizes = {key: int(grid[key]) for key in ("k", "bits", "group_size")}
            packed[name] = partial(_read_packed, stored, name, sizes)
            readers[name] = partial(_dequantized, packed[name])
        branches = {n: LowRank(stored[f"{n}.lora_a"].read(), stored[f"{n}.lora_b"].read()) for n in record["branches"]}
        for name in branches.keys() - packed.keys():
            readers[name] = stored[f"{name}.base"].read
        factors = {name: int(rank) for name, rank in record.get("factors", {}).items()}
        shared = {str(name): str(owner) for name, owner in record.get("shared", {}).items()}
        parts = [part for name in factors for part in factor_names(name) if part not in shared]
        readers |= {part: stored[part].read for part in parts if part not in readers}
        readers = {name: read for name, read in readers.items() if name not in factors and name not in shared}
        return replace(
            model,
            config=config,
            readers=readers,
            packed=packed,
            branches=branches,
            key_centres={attn: stored[f"{attn}.k_centre"].read() for attn in record.get("key_centres", ())},
            factors=factors,
            shared=shared,
            patterns={name: (int(n), int(m)) for name, (n, m) in record["patterns"].items()},
            stages=tuple(record["stages"]),
            provenance=model.provenance | {"original": record["provenance"]},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / MARK} or {EXACT} beside it is damaged ({error}); compress again.") from error


def _read_packed(stored: dict[str, Any], name: str, grid: dict[str, int]) -> QuantizedTensor:
    from edgec.compress.quantized import QuantizedTensor

    found = {part: stored[f"{name}.{part}"].raw() for part in PARTS if f"{name}.{part}" in stored}
    return QuantizedTensor(
        found["packed"],
        found["scale"],
        found.get("zero"),
        grid["k"],
        grid["bits"],
        grid["group_size"],
        found.get("minimum"),
    )


def _dequantized(read: Callable[[], QuantizedTensor]) -> Any:
    return read().dequantized()


def hf_config(model: Checkpoint) -> dict[str, Any]:
    """config.json of a model of this shape."""
    config = standard_config(model.config)
    if has_encoder(config):
        return family_config(config) | _ends(model)
    if config.learned_positions:
        return gpt_config(config) | _ends(model)
    biases = {name.split(".", 3)[3] for name in config.optional_shapes() if name in model and name.endswith(".bias")}
    made: dict[str, Any] = {
        "architectures": [ARCHITECTURES[config.family]],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_dim,
        "intermediate_size": config.ffn_dim,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": ACTIVATIONS[config.activation],
        "rms_norm_eps": config.norm_eps,
        "max_position_embeddings": config.max_seq_len,
        "tie_word_embeddings": config.tied_embeddings,
        "rope_parameters": _rope_parameters(model),
        "dtype": "float32",
    }
    if config.family in ("llama", "qwen3", "gemma2", "gemma3_text"):
        made["attention_bias"] = any(name.startswith("self_attn") for name in biases)
    if config.family == "llama":
        made["mlp_bias"] = any(name.startswith("mlp") for name in biases)
    if config.family != "llama":
        made |= _windows(config)
    if config.family == "phi3":
        made["pad_token_id"] = None  # whose default is beyond small vocabularies
        if original := original_context(made["rope_parameters"]):
            made["original_max_position_embeddings"] = original
    if config.double_norms:
        made |= {
            "hidden_activation": ACTIVATIONS[config.activation],
            "query_pre_attn_scalar": _whole(config.query_scale**-2),
            "attn_logit_softcapping": config.score_softcap or None,
            "final_logit_softcapping": config.logit_softcap or None,
        }
    return made | _ends(model)


def _ends(model: Checkpoint) -> dict[str, Any]:
    if model.tokenizer is None:
        return {}
    return {"bos_token_id": model.tokenizer.bos_id, "eos_token_id": list(model.tokenizer.eos_ids) or None}


def gpt_config(config: ModelConfig) -> dict[str, Any]:
    """config.json of GPT-2 or GPT-Neo."""
    made: dict[str, Any] = {
        "architectures": [ARCHITECTURES[config.family]],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": {"gelu_tanh": "gelu_new"}.get(config.activation, config.activation),
        "tie_word_embeddings": config.tied_embeddings,
        "dtype": "float32",
    }
    if config.family == "gpt2":
        sizes = {"n_embd": config.hidden_dim, "n_layer": config.n_layers, "n_head": config.n_heads}
        sizes |= {"n_positions": config.max_seq_len, "n_inner": config.ffn_dim}
        return made | sizes | {"scale_attn_weights": config.query_scale != 1}
    kinds = ["local" if config.window(layer) else "global" for layer in range(config.n_layers)]
    return made | {
        "hidden_size": config.hidden_dim,
        "num_layers": config.n_layers,
        "num_heads": config.n_heads,
        "intermediate_size": config.ffn_dim,
        "max_position_embeddings": config.max_seq_len,
        "attention_types": [[[kind], 1] for kind in kinds],
        "window_size": max(*config.windows, 1) if config.windows else 256,
    }


def _windows(config: ModelConfig) -> dict[str, Any]:
    """The keys that say which layers see how far."""
    seen = [window for window in config.windows if window]
    made: dict[str, Any] = {"sliding_window": seen[0] if seen else None}
    if config.family in ("qwen2", "qwen3"):
        made["use_sliding_window"] = bool(seen)
    if config.family in ("qwen2", "qwen3", "gemma2", "gemma3_text"):
        layers = [config.window(layer) for layer in range(config.n_layers)]
        made["layer_types"] = ["sliding_attention" if window else "full_attention" for window in layers]
    return made


def _whole(value: float) -> float | int:
    """A number whose square root came from a file: the whole one that it is, up to rounding."""
    return round(value) if abs(value - round(value)) < 1e-6 * value else value


def _rope_parameters(model: Checkpoint) -> dict[str, Any]:
    """Parameters that give the model's frequencies: the source's own, or the base that fits best."""
    config, source = model.config, model.provenance.get("rope_parameters") or {}
    if config.family != "gemma3_text":
        return _parameters(config, config.rope_inv_freq, config.rope_factor, source)
    local = config.local_inv_freq or config.rope_inv_freq
    return {
        "full_attention": _parameters(config, config.rope_inv_freq, config.rope_factor, source.get("full_attention")),
        "sliding_attention": _parameters(config, local, 1.0, source.get("sliding_attention")),
    }


def _parameters(
    config: ModelConfig, frequencies: tuple[float, ...], factor: float, source: dict[str, Any] | None
) -> dict[str, Any]:
    half = config.head_dim // 2
    base = frequencies[-1] ** (-half / (half - 1)) if half > 1 else 10000.0
    candidates = [{"rope_type": "default", "rope_theta": theta} for theta in (float(round(base)), base) if theta > 1]
    for candidate in [source, *candidates] if source else candidates:
        if rotary("the model", config.head_dim, candidate, config.max_seq_len) == (frequencies, factor):
            return dict(candidate)
    return candidates[0]  # edgec itself reads the exact frequencies from edgec.json


def _tokenizer_files(model: Checkpoint) -> dict[str, str]:
    tokenizer = model.tokenizer
    if tokenizer is None:
        return {}
    token = {
        key: None if index is None else tokenizer.backend.id_to_token(index)
        for key, index in (("bos_token", tokenizer.bos_id), ("eos_token", next(iter(tokenizer.eos_ids), None)))
    }
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": tokenizer.add_bos, **token}
    generation = {"bos_token_id": tokenizer.bos_id, "eos_token_id": list(tokenizer.eos_ids) or None}
    generation |= start_tokens(model.config)
    return {
        "tokenizer.json": tokenizer.backend.to_str(),
        "tokenizer_config.json": _json(settings),
        "generation_config.json": _json(generation),
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
