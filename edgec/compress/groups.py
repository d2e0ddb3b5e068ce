"""Which matrices a stage takes: roles and ranges of blocks, and which of them it treats as one group.

roles = ["q", "k+v"]       k and v of all blocks of a range are one group, q another
blocks = ["2:15", "15:28"] half-open as Python's slices: blocks 2 to 14 are one range, 15 to 27 the next
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from edgec.errors import RecipeError
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.structure import BLOCK_ROLES, Structure

ROLES = BLOCK_ROLES


def check_roles(method: str, roles: Sequence[str], together: bool = False) -> None:
    """Raises RecipeError for a role that no matrix plays or that is named twice; `together` allows "k+v"."""
    single = [role for entry in roles for role in (entry.split("+") if together else [entry])]
    for role in single:
        if role not in ROLES:
            raise RecipeError(f"{method}.roles has no role {role!r}; known: {', '.join(ROLES)}.")
    if not single or len(set(single)) < len(single):
        raise RecipeError(f"{method}.roles names at least one role, and each once; it is {list(roles)}.")


def check_ranges(method: str, ranges: Sequence[str]) -> None:
    """Raises RecipeError for a range that is no "first:end" with first < end, and for ranges that overlap."""
    pairs = sorted(_parsed(method, text) for text in ranges)
    for (first, end), (following, last) in pairwise(pairs):
        if following < end:
            raise RecipeError(f"{method}.blocks {first}:{end} and {following}:{last} overlap; a block is in one range.")


def block_ranges(method: str, ranges: Sequence[str], n_layers: int, default: range) -> list[range]:
    """The ranges in a model of so many blocks; `default` if none is named. Raises RecipeError for blocks it lacks."""
    if not ranges and not len(default):
        raise RecipeError(f"{method} leaves the first and the last of {n_layers} blocks alone; name others in blocks.")
    found = [range(*_parsed(method, text)) for text in ranges] or [default]
    for each in found:
        if each.stop > n_layers or not len(each):
            raise RecipeError(
                f"{method}.blocks {each.start}:{each.stop} is outside the model, which has {n_layers} blocks: "
                f"0:{n_layers}."
            )
    return found


def grouped(
    method: str, config: ModelConfig, roles: Sequence[str], ranges: Sequence[range], size: int, rows_alike: bool
) -> list[list[str]]:
    """Groups of matrices, a list of names each in the order of computation: one for each entry of `roles` in each
    range, or in each `size` consecutive blocks of it (0: the whole range).

    Raises RecipeError if matrices of a group have different numbers of inputs (or of outputs: `rows_alike`), or if a
    group has one member only.
    """
    shapes = config.tensor_shapes()
    found = []
    for blocks in ranges:
        parts = [blocks[i : i + (size or len(blocks))] for i in range(0, len(blocks), size or len(blocks))]
        for part in parts:
            for entry in roles:
                wanted = set(entry.split("+"))
                places = {layer: f"model.layers.{layer}." for layer in part}
                names = [n for p in places.values() for n in shapes if n.startswith(p) and role_in(n, wanted)]
                for name in names[1:]:
                    mine, first = shapes[name], shapes[names[0]]
                    if mine[1] != first[1] or (rows_alike and mine != first):
                        raise RecipeError(
                            f"{method} cannot group {names[0]} {list(first)} with {name} {list(mine)}: their "
                            f"{'shapes' if rows_alike else 'numbers of inputs'} differ."
                        )
                if len(names) > 1:
                    found.append(names)
    if not found:
        raise RecipeError(f"{method} has nothing to share: every group of its blocks and roles is one matrix.")
    return found


def check_whole(method: str, structure: Structure, groups: Sequence[Sequence[str]]) -> None:
    """Raises RecipeError for a member that is a product already, or one tensor with a matrix outside its group."""
    for names in groups:
        for name in names:
            if name in structure.factors:
                raise RecipeError(f"{method} takes whole matrices; {name} is a product already, so put {method} first.")
            for user in structure.users(structure.owner(name)):
                if user not in names:
                    raise RecipeError(
                        f"{method} cannot take {name} without {user}, which is the same stored matrix; widen its "
                        "blocks and roles, or leave both out."
                    )


def role_in(name: str, roles: Sequence[str] | set[str]) -> bool:
    """Whether a tensor is a block's matrix of one of these roles."""
    return name.endswith("_proj.weight") and name.split(".")[-2].removesuffix("_proj") in roles


def _parsed(method: str, text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6}):(\d{1,6})", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise RecipeError(f'{method}.blocks {text!r} is not "first:end", first < end, such as "2:8": blocks 2 to 7.')
    return int(match[1]), int(match[2])
