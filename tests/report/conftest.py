"""A small model with random weights, planned for real targets and for one that is too small."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tiny_models

import edgec.report
from edgec.compress.quantized import QuantizedModel
from edgec.compress.rtn import quantize_model
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.model_config import ModelConfig
from edgec.ir.graph import Graph
from edgec.lower.llama import constants, lower
from edgec.lower.programs import ready
from edgec.memory.choices import ALL
from edgec.memory.plan import Plan
from edgec.memory.planner import plan
from edgec.planning import plan_model
from edgec.recipe import Quantize
from edgec.report.report import Report, make_report
from edgec.target import Target, load_target

CONTEXT, CHUNK = 24, 4
VERIFICATION = {
    "backends": {
        "host": {"tensors": 12, "mismatches": 0, "first_divergence": None, "wall_seconds": 1.5},
        "rv32": {"tensors": 3, "mismatches": 1, "first_divergence": {"value": "l0.q", "source": "model.layers.0"}},
    },
    "quality": [{"kind": "float_vs_reference", "text": "/tmp/x/passage.txt", "perplexity_float": 4.5}],
    "skipped": {"float": "/home/someone/model does not exist."},
}
CONFIG = ModelConfig(
    family="llama",
    vocab_size=96,
    hidden_dim=32,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    head_dim=8,
    ffn_dim=48,
    norm_eps=1e-5,
    max_seq_len=64,
    rope_inv_freq=(1.0, 0.1, 0.01, 0.001),
    tied_embeddings=True,
)


class Planned(NamedTuple):
    meta: dict
    graphs: dict[str, Graph]
    plan: Plan
    report: Report


@pytest.fixture(scope="session")
def quantized():
    rng = np.random.default_rng(0)
    tensors = {n: rng.normal(size=s).astype(np.float32) for n, s in CONFIG.tensor_shapes().items()}
    readers = {name: lambda t=t: t for name, t in tensors.items()}
    return quantize_model(Checkpoint(CONFIG, readers, None, {}), Quantize(bits=4, group_size=32))


def shrunk(target: Target, **capacity: int) -> Target:
    """The target with other capacities by memory name; that of L1 is beside its stacks."""
    if "L1" in capacity:
        capacity["L1"] += target.reserved_bytes
    memories = tuple(replace(m, capacity_bytes=capacity.get(m.name, m.capacity_bytes)) for m in target.memories)
    placement = replace(target.placement, program_bytes=1024)
    return replace(target, memories=memories, placement=placement)


def targets() -> dict[str, Target]:
    siracusa = tiny_models.plain(load_target("siracusa"))
    return {
        "host": load_target("host"),
        "siracusa": siracusa,
        "off_chip": shrunk(siracusa, MRAM=4096, TILE=4096),
        "tiny_l1": shrunk(siracusa, L1=2560),
        "tiny_all": shrunk(siracusa, L1=2560, TILE=1024, MRAM=1024, L2=2048, L3=2048),
        "tiny_kv": shrunk(siracusa, TILE=64, L2=1088, L3=1024, MRAM=1 << 20),
    }


@pytest.fixture(scope="session")
def planned(quantized):
    consts = constants(quantized, CONTEXT)
    graphs = {n: lower(quantized, consts, n, rows, CONTEXT) for n, rows in (("prefill", CHUNK), ("decode", 1))}
    parameters = sum(m.packed.shape[0] * m.k for m in quantized.matrices.values())
    parameters += sum(f.size for f in quantized.floats.values())
    shape = {k: v for k, v in vars(CONFIG).items() if k not in ("rope_inv_freq", "rope_factor")}
    result = {}
    for name, target in targets().items():
        made = plan(graphs, target, CONTEXT, replace(ALL, near=False))
        meta = {
            "edgec": "0.1.0",
            "title": f"random for {name}",
            "model": shape | {"parameters": parameters},
            "recipe": {"quantize": {"bits": 4}},
            "max_context": 64,
            "program": {"code_bytes": 100, "data_bytes": 10, "stack_bytes": 8192}
            | {f"{part}_level": target.placement.program for part in ("code", "data", "stack")},
            "quantization": quantized.errors,
            "provenance": {
                "source": "/home/someone/random",
                "format": "huggingface",
                "files": {"model.safetensors": "ab" * 32},
                "notes": ["tokenizer from /home/someone/t/tok.json"],
                "versions": {"python": "3.11"},
                "plan_sha256": "cd" * 32,
            },
        }
        result[name] = Planned(meta, graphs, made, make_report(meta, made, graphs, {}))
    return result


class Encoded(NamedTuple):
    model: QuantizedModel
    meta: dict
    graphs: dict[str, Graph]
    plan: Plan
    report: Report


@pytest.fixture(scope="session")
def encoded(planned):
    """A model whose matrices go to Siracusa's accelerator, planned with all that the target has."""
    shape = {"hidden_dim": 252, "ffn_dim": 504, "head_dim": 12, "n_heads": 4, "n_kv_heads": 2}
    recipe = tiny_models.recipe(bits=4, group_size=252, context=CONTEXT)
    model = quantize_model(tiny_models.checkpoint(tiny_models.config(**shape)), recipe.quantize)
    target = load_target("siracusa")
    graphs, made = plan_model(ready(model, target, CONTEXT), target, CONTEXT, recipe)
    facts = planned["siracusa"].meta
    parameters = sum(m.packed.shape[0] * m.k for m in model.matrices.values())
    parameters += sum(f.size for f in model.floats.values())
    meta = facts | {
        "model": facts["model"] | shape | {"parameters": parameters},
        "quantization": model.errors,
        "widths": {name: m.bits for name, m in model.matrices.items()},
    }
    return Encoded(model, meta, graphs, made, make_report(meta, made, graphs, {}))


@pytest.fixture(scope="session")
def schema():
    return json.loads((Path(edgec.report.__file__).parent / "schema.json").read_text())


@pytest.fixture
def verification():
    return VERIFICATION
