"""The svd stage's ranks under a budget of parameters: the least estimated loss over all of its matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgec.compress.low_rank import Factors
from edgec.compress.ranks import TINY, Curve, allocate, break_even, rank_of_energy
from edgec.compress.stage import Work
from edgec.frontend.checkpoint import Checkpoint

if TYPE_CHECKING:
    from edgec.compress.svd import Svd

PROBED = 0.8  # of its energy is what a matrix keeps while its loss is measured


def ranks_of_budget(
    stage: Svd,
    model: Checkpoint,
    groups: dict[str, list[str]],
    factors: dict[str, Factors],
    removal: dict[str, float],
    work: Work,
) -> dict[str, int]:
    """Ranks of the least estimated loss; a unit of dropped energy loses what `sensitivity` says."""
    shapes = model.config.tensor_shapes()
    energy = {name: float((each.sizes**2).sum()) for name, each in factors.items()}
    weights = dict.fromkeys(groups, 1.0)
    if stage.sensitivity == "gradient":
        weights = {name: removal[name] / max(energy[name], TINY) for name in groups}
    elif stage.sensitivity == "measured":
        from edgec.compress.sensitivity import loss_of_probe

        # Every probe drops a good part of its energy: a loss that is lost in the noise would say nothing of it.
        cut = {n: min(rank_of_energy(factors[n].sizes, PROBED), break_even(*shapes[n])) for n in groups}
        probes = {name: factors[name].of_rank(cut[name]) for name in groups}
        lost = loss_of_probe(model, work.tokens(model, stage.probe_samples, at_most=True), groups, probes, work)
        # A matrix whose loss the few windows cannot tell from none still counts for a little.
        least = max(max(lost.values()), TINY) * 1e-3
        left = {name: energy[name] * (1 - factors[name].kept(cut[name])) for name in groups}
        weights = {name: max(lost[name], least) / max(left[name], TINY) for name in groups}
    curves = {name: Curve(shapes[name], factors[name].sizes, weights[name]) for name in groups}
    total = sum(n * k for n, k in map(shapes.__getitem__, groups))
    found = allocate(curves, int(stage.budget * total), stage.multiple)
    figures = {"estimated_loss": found.loss, "least_possible": found.bound}
    work.notes["budget"] = {
        "dense_parameters": total,
        "parameters": found.parameters,
        **{name: float(f"{value:.6g}") for name, value in figures.items()},
    }
    return found.ranks
