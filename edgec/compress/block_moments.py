"""Matrices changed block after block by the second moments of their inputs.

A shared matrix has the inputs of all its users: their moments are summed up to the last of them, and the matrix is
done there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgec.compress.stage import Work, layers_of
from edgec.frontend.structure import Structure

if TYPE_CHECKING:
    from torch import Tensor


def fit_blocks(
    structure: Structure,
    matrices: Collection[str],
    moments: Callable[[int, list[str]], Mapping[str, Tensor]],
    fit: Callable[[list[str], dict[str, Tensor]], dict[str, Any]],
    work: Work,
) -> Iterator[tuple[int, list[str], dict[str, Any]]]:
    """(block, stored matrices that it is the last to apply, what `fit` made of them) for all blocks in order.

    matrices   the stored matrices to change, by name
    moments    (block, names under which it applies some of them) to a moment [k, k] each, of the inputs it has by then
    fit        (matrices, their moments) to arrays by any name

    What is done is kept in work.partial block by block, and taken from there: moments are asked for only where a matrix
    is not done yet. The caller moves its activations through a block before it takes the next one.
    """
    blocks = structure.config.n_layers
    sums: dict[str, Tensor] = {}
    for layer in range(blocks):
        work.say("blocks", layer, blocks)
        users, last = due(structure, layer, matrices)
        done = work.load(f"block{layer}")
        if done is None or len(last) < len(users):
            for user, moment in moments(layer, users).items():
                name = structure.owner(user)
                sums[name] = sums[name] + moment if name in sums else moment
        ready = {name: sums.pop(name) for name in last if name in sums}
        if done is None:
            done = fit(last, ready)
            work.save(f"block{layer}", done)
        yield layer, last, done


def due(structure: Structure, layer: int, matrices: Collection[str]) -> tuple[list[str], list[str]]:
    """The names under which a block applies these stored matrices, and those of which it is the last user."""
    users = [user for user in layers_of(structure.applied_matrices(), layer) if structure.owner(user) in matrices]
    return users, [structure.owner(u) for u in users if structure.users(structure.owner(u))[-1] == u]
