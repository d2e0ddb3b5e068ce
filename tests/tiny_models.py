"""Random small models in memory, shrunken targets, and build() on them: what most tests start from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from edgec import compiler
from edgec.artifact import Artifact
from edgec.compress.quantized import QuantizedModel
from edgec.compress.rtn import quantize_model
from edgec.frontend.checkpoint import Checkpoint, TextTokenizer
from edgec.frontend.model_config import ModelConfig
from edgec.ir.graph import Graph
from edgec.lower.llama import constants
from edgec.lower.programs import ready
from edgec.memory.plan import Plan
from edgec.planning import plan_model
from edgec.recipe import Build, Quantize, Recipe
from edgec.target import Target, load_target, target_path
from edgec.verify import chain, toolchain
from edgec.verify.host import HostBackend
from edgec.verify.workload import TEXT

Arrays = dict[str, Any]


def config(**changes: Any) -> ModelConfig:
    """A small configuration, with changes."""
    sizes: dict[str, Any] = {
        **{"family": "llama", "vocab_size": 97, "hidden_dim": 36, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2},
        **{"head_dim": 8, "ffn_dim": 52, "norm_eps": 1e-5, "max_seq_len": 600, "tied_embeddings": False},
        **changes,
    }
    d = sizes["head_dim"]
    sizes.setdefault("rope_inv_freq", tuple(10000.0 ** (-2 * i / d) for i in range(d // 2)))
    return ModelConfig(**sizes)


def tokenizer(vocab: int) -> TextTokenizer:
    """The first words of the verification's text to ids all over the vocabulary; any other word is an "a"."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = dict.fromkeys(["a", *re.findall(r"\w+|[^\w\s]+", TEXT)])
    ids = {word: (13 * i + 1) % vocab for i, word in enumerate(list(words)[:vocab])}
    assert len(set(ids.values())) == len(ids)
    backend = Tokenizer(models.WordLevel(ids, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return TextTokenizer(backend, None, (), False)


def checkpoint(made: ModelConfig, seed: int = 0, biases: bool = False, qk_norms: bool = False) -> Checkpoint:
    """Random weights of a size that keeps activations near 1, so that no two tokens look alike."""
    rng = np.random.default_rng(seed)
    shapes = dict(made.tensor_shapes())
    for name, shape in made.optional_shapes().items():
        if (biases and name.endswith(("q_proj.bias", "k_proj.bias", "v_proj.bias"))) or (qk_norms and "_norm." in name):
            shapes[name] = shape
    tensors = {}
    for name, shape in shapes.items():
        spread = shape[-1] ** -0.5 * 1.5 if len(shape) == 2 else 0.3
        centre = 1.0 if "norm" in name else 0.0
        tensors[name] = (centre + spread * rng.standard_normal(shape)).astype(np.float32)
    tensors["model.embed_tokens.weight"] *= shapes["model.embed_tokens.weight"][1] ** 0.5
    provenance = {"source": "random", "format": "memory", "files": {}, "notes": []}
    readers = {name: partial(np.copy, tensor) for name, tensor in tensors.items()}
    return Checkpoint(made, readers, tokenizer(made.vocab_size), provenance)


def target_file(path: Path, changes: Callable[[str], str] | None = None, **numbers: Any) -> Path:
    """A copy of siracusa.toml at `path` with other capacities (L1=..., ...), DMA limit, or placement lists.

    L1 is what it has for data, beside the stacks. As `plain`: without accelerator and measured costs.
    """
    text = target_path("siracusa").read_text().partition("[[engine.measured]]")[0]
    text = re.sub(r"(?m)^code_(level|bytes) = .*\n", "", text)
    if "L1" in numbers:
        numbers["L1"] += load_target("siracusa").reserved_bytes
    for key, value in numbers.items():
        if key == "max_bytes":
            text = re.sub(r"max_bytes = [\d_]+", f"max_bytes = {value}", text)
        elif isinstance(value, list):
            text = re.sub(rf"(?m)^{key} = \[.*?\]", f"{key} = {str(value).replace(chr(39), chr(34))}", text)
        else:
            text = re.sub(rf'(name = "{key}"\ncapacity_bytes = )[\d_]+', rf"\g<1>{value}", text)
    path.write_text(changes(text) if changes else text)
    return path


def recipe(bits: int = 4, group_size: int = 32, context: int = 24, chunk: int | None = 4, **roles: Any) -> Recipe:
    """A recipe; roles are RoleOverrides by name."""
    return Recipe(Quantize("rtn", bits, group_size, roles), Build(context, chunk))


@dataclass
class Planned:
    """All that lies between a checkpoint and a folder."""

    model: QuantizedModel
    consts: Arrays
    graphs: dict[str, Graph]
    plan: Plan
    target: Target = field(init=False)

    def __post_init__(self) -> None:
        self.target = self.plan.target


def plain(target: Target) -> Target:
    """A target whose plans change only when the planner does: no accelerator, measured costs or room kept for code."""
    engines, runtime = tuple(replace(e, measured=()) for e in target.engines), target.runtime
    return replace(target, accelerators=(), engines=engines, runtime=replace(runtime, code_level="", code_bytes=0))


def planned(
    source: Checkpoint, target: str | Path = "siracusa", made: Recipe | None = None, near: bool = False
) -> Planned:
    """Quantise, lower and plan for a plain target, without writing anything. near: constants may stay in L1."""
    made = made or recipe()
    build = made.build
    model = quantize_model(source, made.quantize, None, build.branch_bits, build.sparse)
    context = made.build.context or 24
    chip = plain(load_target(str(target)))
    lowered = ready(model, chip, context)
    consts = constants(lowered, context)
    with nullcontext() if near else patch("edgec.memory.near.NEAR_SHARE", 0):
        graphs, plan = plan_model(lowered, chip, context, made)
    return Planned(model, consts, graphs, plan)


@contextmanager
def quick(source: Checkpoint, objects: Path, optimize: str = "-O0", measured: bool = False) -> Iterator[None]:
    """build() takes `source` for any model; host programs are built unoptimised from kept kernel objects.

    Unless `measured`, no program is compiled just to learn the size of its code.
    """
    with ExitStack() as stack:
        stack.enter_context(patch.object(compiler, "load_checkpoint", lambda model, tokenizer: source))
        stack.enter_context(patch.object(toolchain, "OBJECTS", objects))
        stack.enter_context(patch.object(chain, "HostBackend", partial(HostBackend, optimize=optimize)))
        if not measured:
            sizes = toolchain.Sizes(40_000, 0, 100, 8192, {})
            stack.enter_context(patch.object(compiler, "compile_rv32", lambda project, elf, float_abi: elf))
            stack.enter_context(patch.object(compiler, "compile_chip", lambda project, target, elf: elf))
            stack.enter_context(patch.object(compiler, "sizes", lambda elf: sizes))
            for check in ("check_elf", "check_chip_elf"):
                stack.enter_context(patch.object(compiler, check, lambda plan, images, elf: None))
        yield


def built(
    source: Checkpoint, out: Path, objects: Path, target: str | Path = "siracusa", made: Recipe | None = None
) -> Artifact:
    """build() of a checkpoint in memory."""
    with quick(source, objects):
        return compiler.build("memory", target=str(target), recipe=made or recipe(), out=out)
