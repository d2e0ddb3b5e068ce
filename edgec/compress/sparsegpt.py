"""SparseGPT: width pruning that makes up for what it removes (Frantar and Alistarh 2023, arXiv 2301.00774).

    pattern = "2:4"    remove 2 of every 4 weights of a row
    sparsity = 0.5     remove half of every 128 columns, wherever in the matrix it costs least

As `width`, but which weight goes is judged by w^2 / [H^-1]_jj, H the second moment of the matrix's inputs, and the
weights to its right are corrected for it (compress/obs.py). Block after block: the inputs of block i come through the
blocks before it as they are already pruned. Zeros of an earlier pruning stay and count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from edgec.compress.block_moments import fit_blocks
from edgec.compress.masks import Pattern, check_options, mask, merged_patterns, patterns_of
from edgec.compress.stage import Work, floats_of
from edgec.compress.width import ROLES
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, FloatArray
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.structure import Structure


@dataclass(frozen=True)
class SparseGpt:
    """What is removed, from which matrices, and on how much text."""

    method: ClassVar[str] = "sparsegpt"
    pattern: str = ""  # "N:M": remove N of M; or
    sparsity: float = 0.0  # this share of every matrix
    roles: tuple[str, ...] = ROLES
    samples: int = 128  # windows of the calibration text, or as many as it has
    length: int = 0  # tokens of a window; 0: the calibration's
    damp: float = 0.01  # of H's mean diagonal
    block: int = 128  # columns of which unstructured zeros are chosen together
    guided: bool = False  # weight tokens by the loss's gradient (compress/token_weights.py)

    def __post_init__(self) -> None:
        check_options("sparsegpt", self.pattern, self.sparsity)
        for role in self.roles:
            if role not in ROLES:
                raise RecipeError(f"sparsegpt.roles has no role {role!r}; known: {', '.join(ROLES)}.")
        if not self.roles or self.samples < 1 or (self.length != 0 and self.length < 2):
            raise RecipeError("sparsegpt needs a role, a sample, and windows of 2 tokens (0: as calibration).")
        if not 0 < self.damp < 1 or self.block < 1:
            raise RecipeError(
                f"sparsegpt.damp is a share between 0 and 1, block at least 1: {self.damp}, {self.block}."
            )

    def shape(self, config: ModelConfig) -> ModelConfig:
        """Unchanged. Raises RecipeError if the pattern does not divide a row."""
        self.patterns(Structure(config))
        return config

    def patterns(self, structure: Structure) -> dict[str, Pattern]:
        """(removed, of) for every stored matrix that is pruned in a model of this structure."""
        return patterns_of("sparsegpt", self.pattern, self.sparsity, self.roles, structure)

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The model with the matrices of `roles` pruned; low-rank branches beside them stay as they are.

        Raises RecipeError for matrices that a quantise stage packed, and for a text too short for one window.
        """
        patterns = self.patterns(model.structure)
        model = floats_of(model, list(patterns), self.method, work)
        tensors: dict[str, FloatArray] = {}
        errors: dict[str, float] = {}
        for name, tensor, error in self._pruned(model, patterns, work):
            tensors[name], errors[name] = tensor, error
        work.notes["errors"] = {name: float(f"{error:.4g}") for name, error in errors.items()}
        return model.with_tensors(tensors, patterns=merged_patterns(model.patterns, patterns))

    def _pruned(
        self, model: Checkpoint, patterns: dict[str, Pattern], work: Work
    ) -> Iterator[tuple[str, FloatArray, float]]:
        """(name, matrix, error) of every matrix that is pruned; what is done is kept in work.partial block by block.

        The error is tr (W - Q) H (W - Q)^T / tr W H W^T: the share of the outputs' power that is lost.
        """
        import torch

        from edgec.compress.eora import input_moments
        from edgec.compress.gptq import damped, error
        from edgec.compress.obs import prune
        from edgec.compress.sequential import each_alone
        from edgec.compress.token_weights import token_weights
        from edgec.compress.torch_model import load_torch

        tokens = work.tokens(model, self.samples, self.length or None, at_most=True)
        work.notes["samples"] = len(tokens)
        module = load_torch(model)
        weights = token_weights(module, tokens, work) if self.guided else {}
        last = model.config.n_layers - 1

        def fit(names: list[str], moments: dict[str, Any]) -> dict[str, Any]:
            def one(name: str) -> dict[str, Any]:
                w, h = module.linear(name).weight.data, moments[name]
                before = mask(model, name)
                kept = None if before is None else torch.from_numpy(before)
                scaled = h / h.diagonal().mean().clamp_min(1e-30)
                q = prune(w, damped(scaled, self.damp), *patterns[name], bool(self.pattern), self.block, kept)
                return {name: q.numpy(), f"{name}.error": error(w.double(), q.double(), scaled)}

            made = each_alone(names, lambda name: module.linear(name).weight.numel(), one)
            return {key: value for name in names for key, value in made[name].items()}

        with torch.no_grad():
            hidden = [module.embed(window) for window in torch.from_numpy(tokens).split(1)]

            def moments(layer: int, users: list[str]) -> Mapping[str, Any]:
                return input_moments(module, layer, hidden, users, weights)

            for layer, names, done in fit_blocks(model.structure, patterns, moments, fit, work):
                for name in names:
                    module.linear(name).weight.data = torch.from_numpy(done[name])
                    yield name, done[name], float(done[f"{name}.error"])
                if layer < last:
                    hidden = [module.block(layer, part) for part in hidden]


STAGE = SparseGpt
