"""Rotary embedding: the frequencies of a head, with context-extension scaling applied.

Computed in double precision and rounded once to float32. Formulas: RoPE (Su et al. 2021, eq. 15),
position interpolation (Chen et al. 2023), Llama 3.1's piecewise scaling (its reference code), YaRN
(Peng et al. 2023, sections 3.2 and 3.4), LongRoPE (Ding et al. 2024) as far as its original context.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.errors import ModelError

MAX_HEAD_DIM = 1 << 14
TYPES = ("default", "linear", "llama3", "yarn", "longrope")
PARAMETERS = {
    "rope_type", "type", "rope_theta", "partial_rotary_factor", "factor", "original_max_position_embeddings",
    "low_freq_factor", "high_freq_factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim",
    "truncate", "finetuned", "short_factor", "long_factor",
}  # fmt: skip

Frequencies = NDArray[np.float64]


def rotary(
    where: str, head_dim: int, parameters: Mapping[str, Any], max_seq_len: int
) -> tuple[tuple[float, ...], float]:
    """`head_dim/2` angular frequencies in radians per position, and the factor on cos and sin.

    `parameters` uses the keys of Hugging Face's `rope_parameters`. `where` names the file in the
    ModelError for a scaling that edgec does not know.
    """
    if not 0 < head_dim <= MAX_HEAD_DIM:
        raise ModelError(f"{where} gives head_dim as {head_dim:,}; it must be from 1 to {MAX_HEAD_DIM:,}.")
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    if kind not in TYPES:
        raise ModelError(f"{where} asks for rotary scaling {kind!r}; edgec knows {', '.join(TYPES)}.")
    unknown = sorted(set(parameters) - PARAMETERS)
    if unknown:
        raise ModelError(f"{where} has the rotary parameter {unknown[0]!r}, which edgec does not know.")
    if (part := parameters.get("partial_rotary_factor")) not in (None, 1, 1.0):
        raise ModelError(f"{where} rotates a part of each head only (partial_rotary_factor {part}); edgec rotates all.")
    theta = _number(where, parameters, "rope_theta")
    if theta <= 1:
        raise ModelError(f"{where} gives the rotary parameter rope_theta as {theta:g}; it must be above 1.")
    freq = 1.0 / theta ** (np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    factor = 1.0
    if kind == "linear":
        freq = freq / _number(where, parameters, "factor")
    elif kind == "llama3":
        freq = _llama3(where, freq, parameters, max_seq_len)
    elif kind == "yarn":
        freq, factor = _yarn(where, freq, theta, parameters, max_seq_len)
    elif kind == "longrope":
        freq, factor = _longrope(where, freq, parameters, max_seq_len)
    return tuple(float(f) for f in freq.astype(np.float32)), factor


def _number(where: str, parameters: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = parameters.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        raise ModelError(f"{where} gives the rotary parameter {key} as {value!r}; it must be a positive number.")
    return float(value)


def _llama3(where: str, freq: Frequencies, parameters: Mapping[str, Any], max_seq_len: int) -> Frequencies:
    """Long waves slowed by `factor`, short ones kept, those between interpolated."""
    factor = _number(where, parameters, "factor")
    low = _number(where, parameters, "low_freq_factor")
    high = _number(where, parameters, "high_freq_factor")
    context = _number(where, parameters, "original_max_position_embeddings", max_seq_len)
    if low >= high:
        raise ModelError(f"{where} gives low_freq_factor {low:g}, which is not below high_freq_factor {high:g}.")
    smooth = np.clip((context * freq / (2 * math.pi) - low) / (high - low), 0.0, 1.0)
    return (1 - smooth) * freq / factor + smooth * freq


def _yarn(
    where: str, freq: Frequencies, theta: float, parameters: Mapping[str, Any], max_seq_len: int
) -> tuple[Frequencies, float]:
    """Interpolated below `beta_slow` rotations per context, kept above `beta_fast`; attention sharpened."""
    context = _number(where, parameters, "original_max_position_embeddings", max_seq_len)
    factor = _number(where, parameters, "factor", max_seq_len / context)
    head_dim = 2 * len(freq)

    def correction_dim(rotations: float) -> float:
        return head_dim * math.log(context / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low = correction_dim(_number(where, parameters, "beta_fast", 32))
    high = correction_dim(_number(where, parameters, "beta_slow", 1))
    if parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001
    interpolated = np.clip((np.arange(len(freq)) - low) / (high - low), 0.0, 1.0)
    freq = freq / factor * interpolated + freq * (1 - interpolated)
    if parameters.get("attention_factor") is not None:
        return freq, _number(where, parameters, "attention_factor")
    if parameters.get("mscale") and parameters.get("mscale_all_dim"):
        above = _attention_scale(factor, _number(where, parameters, "mscale"))
        return freq, above / _attention_scale(factor, _number(where, parameters, "mscale_all_dim"))
    return freq, _attention_scale(factor, 1.0)


def _longrope(
    where: str, freq: Frequencies, parameters: Mapping[str, Any], max_seq_len: int
) -> tuple[Frequencies, float]:
    """Each wave stretched by its own factor: the short ones', which hold up to the original context."""
    context = _number(where, parameters, "original_max_position_embeddings")
    found = parameters.get("short_factor")
    good = isinstance(found, list) and len(found) == len(freq) and all(isinstance(f, (int, float)) for f in found)
    stretch = np.asarray(found if good else [0], np.float64)
    if not np.isfinite(stretch).all() or (stretch <= 0).any():
        raise ModelError(f"{where} must give the rotary parameter short_factor as {len(freq)} positive numbers.")
    factor = _number(where, parameters, "factor", max_seq_len / context)
    if parameters.get("attention_factor") is not None:
        return freq / stretch, _number(where, parameters, "attention_factor")
    return freq / stretch, 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(context))


def original_context(parameters: Mapping[str, Any]) -> int | None:
    """Positions up to which frequencies hold that are others beyond; None: they hold everywhere."""
    value = parameters.get("original_max_position_embeddings")
    known = parameters.get("rope_type") == "longrope" and isinstance(value, int) and value > 0
    return int(value) if known and value is not None else None


def _attention_scale(factor: float, mscale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0
