"""Factors of a model with an encoder in any basis: transformers runs the text, and its own layers are watched.

The statistics are those of compress/factor_blocks.py, with the same definitions. What needs a loss (guided moments,
Fisher information, a budget's gradients) takes that of the text a model writes, so an encoder alone has none of it.
Moments of all matrices exist at a time: k^2 float64 each, shared by matrices with the same inputs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgec.compress.encoder_folder import family_config, family_tensors
from edgec.compress.encoder_texts import Text
from edgec.compress.factor_blocks import MOMENTS, Statistics, factored
from edgec.compress.low_rank import Factors, Fit
from edgec.compress.sensitivity import Groups
from edgec.compress.stage import Work
from edgec.compress.standard_form import standard_tensors
from edgec.errors import RecipeError
from edgec.frontend import bart, bert
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.seq2seq_config import Seq2SeqConfig, seq2seq


def factor_encoder(
    model: Checkpoint, groups: Groups, bounds: Mapping[str, int], fit: Fit, texts: list[Text], work: Work
) -> tuple[dict[str, Factors], dict[str, float]]:
    """As factor_blocks: factors of each group's matrix up to rank bounds[name], and what the loss minds its removal.

    Raises RecipeError for inputs that overflow.
    """
    module, layers = transformers_model(model)
    watched = {user: layers[user] for users in groups.values() for user in users}
    sums = _Watch(watched, fit).run(module, texts, work)
    tokens = sum(len(text.read) + max(0, len(text.written) - 1) for text in texts)
    made, removal = {}, {}
    for number, (name, users) in enumerate(groups.items()):
        work.say("matrices", number, len(groups))
        mine = [sums[user] for user in users]
        each = Statistics(sum(s.moment for s in mine), sum(s.mean_abs for s in mine), sum(s.removal for s in mine))
        fisher = sum(s.fisher for s in mine) / len(texts)
        weights = (fisher.sum(1), fisher.sum(0)) if fit.basis == "fisher" else None
        made[name] = factored(model.effective(name), each, weights, fit, bounds[name])
        removal[name] = each.removal / tokens
    return made, removal


def transformers_model(model: Checkpoint) -> tuple[Any, dict[str, nn.Linear]]:
    """transformers' model with these weights, in evaluation mode without gradients, and its layer by matrix name."""
    logging.disable(logging.WARNING)  # what packages that transformers imports say of themselves
    try:
        from transformers import AutoConfig, BartForConditionalGeneration, BertModel
    finally:
        logging.disable(logging.NOTSET)
    config = model.config
    settings = AutoConfig.for_model(**family_config(config))
    module: Any = (
        BartForConditionalGeneration(settings) if seq2seq(config) else BertModel(settings, add_pooling_layer=False)
    )
    stored = {name: torch.from_numpy(t) for name, t in family_tensors(config, standard_tensors(model)).items()}
    left = module.load_state_dict(stored, strict=False)
    tied = {*bart.COPIES, bart.BIAS, "embeddings.position_ids", "embeddings.token_type_ids"}
    assert not left.unexpected_keys and {*left.missing_keys} <= tied, left
    module.tie_weights()
    module.eval().requires_grad_(False)
    if isinstance(config, Seq2SeqConfig):
        names = bart.family_names(config)
    else:
        names = {ours: theirs for theirs, ours in bert.family_names(config).items()}
    found = {ours: module.get_submodule(names[ours].removesuffix(".weight")) for ours in model.matrix_names()}
    return module, found


@dataclass
class _Sums:
    moment: Any = 0.0  # sum_t w_t x_t x_t^T [k, k]
    mean_abs: Any = 0.0  # [k]
    removal: float = 0.0
    fisher: Any = field(default_factory=lambda: np.zeros((1, 1)))  # [n, k]


class _Watch:
    """Sums over all tokens of all texts, by matrix, of what `fit` needs."""

    def __init__(self, layers: Mapping[str, nn.Linear], fit: Fit) -> None:
        self.layers, self.fit = layers, fit
        self.guided = fit.guided and fit.basis in MOMENTS
        self.fisher = fit.basis == "fisher"
        self.needs_loss = self.guided or fit.removal or self.fisher
        self.sums = {name: _Sums() for name in layers}
        self.seen: dict[str, tuple[Tensor, Tensor]] = {}  # of the text at hand: inputs, outputs

    def run(self, module: Any, texts: list[Text], work: Work) -> dict[str, _Sums]:
        """All texts, one by one. Raises RecipeError for inputs that overflow."""
        if self.needs_loss:
            for layer in self.layers.values():
                layer.weight.requires_grad_(True)
        hooks = [layer.register_forward_hook(self._see(name)) for name, layer in self.layers.items()]
        try:
            for number, text in enumerate(texts):
                work.say("texts", number, len(texts))
                with torch.set_grad_enabled(self.needs_loss):
                    logits = _run(module, text)
                self._add(self._gradients(logits, text) if self.needs_loss else {}, len(texts))
        finally:
            for hook in hooks:
                hook.remove()
        for name, sums in self.sums.items():
            if not np.isfinite(np.sum(sums.moment) + np.sum(sums.mean_abs)):
                raise RecipeError(f"the inputs of {name} overflow on the calibration text; the checkpoint is damaged.")
        return self.sums

    def _see(self, name: str) -> Any:
        def hook(layer: Any, inputs: Any, output: Tensor) -> None:
            self.seen[name] = (inputs[0], output)

        return hook

    def _gradients(self, logits: Tensor, text: Text) -> dict[str, Tensor]:
        """The mean over outputs of (dL/dy)^2 of every token, L the summed loss; Fisher information is added here."""
        wanted = torch.tensor(text.written[1:])
        loss = nn.functional.cross_entropy(logits, wanted, reduction="sum")
        outputs = [output for _, output in self.seen.values()]
        weights = [self.layers[name].weight for name in self.seen] if self.fisher else []
        found = torch.autograd.grad(loss, [*outputs, *weights])
        for name, slope in zip(self.seen, found[len(outputs) :], strict=False):
            self.sums[name].fisher = self.sums[name].fisher + (slope.double() / len(wanted)).square().numpy()
        return {n: g.flatten(0, -2).pow(2).mean(-1) for n, g in zip(self.seen, found[: len(outputs)], strict=True)}

    def _add(self, gradients: Mapping[str, Tensor], texts: int) -> None:
        latest: tuple[Tensor | None, Any] = (None, None)  # inputs, and their moment: matrices share the very same one
        for name, (inputs, output) in self.seen.items():
            x, sums = inputs.detach().flatten(0, -2), self.sums[name]
            if self.fit.basis in MOMENTS:
                if self.guided or latest[0] is not inputs:
                    weighted = x * gradients[name][:, None] if self.guided else x
                    latest = (inputs, (x.T @ weighted).double().numpy())
                sums.moment = sums.moment + latest[1]
            if self.fit.basis == "asvd":
                sums.mean_abs = sums.mean_abs + x.abs().mean(0, dtype=torch.float64).numpy() / texts
            if self.fit.removal:
                y = output.detach().flatten(0, -2) - self.layers[name].bias
                sums.removal += float(0.5 * (y.square().sum(1, dtype=torch.float64) * gradients[name]).sum())
        self.seen.clear()


def _run(module: Any, text: Text) -> Tensor:
    """Logits of what is written [tokens, vocabulary]; of an encoder its last rows."""
    ids = torch.tensor([text.read])
    if not text.written:
        rows: Tensor = module(ids).last_hidden_state[0]
        return rows
    logits: Tensor = module(input_ids=ids, decoder_input_ids=torch.tensor([text.written[:-1]])).logits[0]
    return logits
