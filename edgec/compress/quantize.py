"""The quantise stage: the blocks' matrices onto grids that a calibration text chose.

by = "gptq"        edgec's own: scale search, GPTQ, least-squares scales and coordinate descent, tokens weighted by the
                   loss's gradient (compress/sequential.py)
     "search"      the importance-weighted scale search alone
     "rtn"         nearest codes, no text needed
     "gptqmodel"   the library GPTQModel: also with act_order, and "awq"

Embedding and head are left to the build's [quantize] table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from edgec.compress.quantized import QuantizedTensor
from edgec.compress.stage import Work
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.structure import role_of

METHODS = ("gptq", "search", "rtn", "gptqmodel", "awq")
ROLES = ("q", "k", "v", "o", "gate", "up", "down")


@dataclass(frozen=True)
class QuantizeBlocks:
    """Width in bits and inputs that share a scale (0: the whole row), and how the grid's points are chosen."""

    method: ClassVar[str] = "quantize"
    by: str = "gptq"
    bits: int = 4
    group_size: int = 64
    damp: float | None = None  # of H's mean diagonal; None: 0.01, or GPTQModel's own 0.05
    rounds: int = 3  # of scale refit and coordinate descent
    guided: bool = True  # weight tokens by the loss's gradient
    sequential: bool = False  # calibrate on the rounded blocks before and the chip's activations
    act_order: bool = False  # GPTQModel's desc_act; edgec's own GPTQ always orders columns
    bits_of: dict[str, Any] = field(default_factory=dict)  # width by role: q, k, v, o, gate, up, down

    def __post_init__(self) -> None:
        if self.by not in METHODS:
            raise RecipeError(f"quantize.by {self.by!r} is unknown; known: {', '.join(METHODS)}.")
        for role, bits in {"": self.bits, **self.bits_of}.items():
            if role and role not in ROLES:
                raise RecipeError(f"quantize.bits_of has no role {role!r}; known: {', '.join(ROLES)}.")
            if not isinstance(bits, int) or not 2 <= bits <= 8:
                raise RecipeError(f"weights have 2 to 8 bits, not {bits!r}.")
        if self.group_size != 0 and not 8 <= self.group_size <= 65536:
            raise RecipeError(f"quantize.group_size is {self.group_size}; it is 0 (the whole row) or 8 to 65,536.")
        if (self.damp is not None and not 0 < self.damp < 1) or not 0 <= self.rounds <= 20:
            raise RecipeError("quantize.damp is a share between 0 and 1, quantize.rounds 0 to 20.")

    def shape(self, config: ModelConfig) -> ModelConfig:
        """Unchanged."""
        return config

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The model with every matrix of its blocks packed."""
        names = model.stored_matrices()
        shapes = model.structure.shapes()
        grids = {}
        for name in names:
            k = shapes[name][1]
            role = role_of(name)
            grids[name] = (int(self.bits_of.get(role, self.bits)), min(self.group_size or k, k))
        packed: dict[str, QuantizedTensor] = {}
        errors: dict[str, float] = {}
        if self.by in ("gptqmodel", "awq"):
            from edgec.compress.gptqmodel_backend import Options, quantize

            if self.bits_of:
                raise RecipeError("GPTQModel takes one width for all matrices; quantize.bits_of is for edgec's own.")
            options = Options(
                method="awq" if self.by == "awq" else "gptq",
                bits=self.bits,
                group_size=self.group_size,
                act_order=self.act_order,
                damp_percent=0.05 if self.damp is None else self.damp,
            )
            model = quantize(model, options, work)  # AWQ changes norms and biases too
            packed = {name: model.packed[name]() for name in names}
        elif self.by == "rtn":
            from edgec.compress.rtn import quantize_matrix

            for done, (name, (bits, group_size)) in enumerate(grids.items()):
                work.say("matrices", done, len(grids))
                packed[name], errors[name] = quantize_matrix(model.tensor(name), bits, group_size)
        else:
            from edgec.compress.sequential import Fit, quantize_blocks

            solve = self.by == "gptq"
            fit = Fit(
                solve, self.guided, 0.01 if self.damp is None else self.damp, self.rounds, sequential=self.sequential
            )
            for name, tensor, error in quantize_blocks(model, grids, fit, work):
                packed[name], errors[name] = tensor, error
        work.notes["errors"] = {name: float(f"{error:.4g}") for name, error in errors.items()}
        return model.with_packed(packed)


STAGE = QuantizeBlocks
