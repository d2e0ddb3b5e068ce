"""Options that several commands share: how large the model and its parts become."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_OPTIONS = (
    click.option("--target", default="siracusa", show_default=True, help="A target's name, or a .toml file."),
    click.option("--recipe", "recipe_file", metavar="FILE", help="A recipe in TOML; excludes --bits and --group-size."),
    click.option("--bits", type=int, help="Width of weights, 2 to 8."),
    click.option("--group-size", type=int, help="Weights that share a scale; 0 is a whole row."),
    click.option("--context", type=int, help="Positions of the KV cache."),
    click.option("--chunk", type=int, help="Tokens of one prefill run."),
    click.option("--kv", type=click.Choice(["int8", "int4"]), help="Precision of the KV cache; default int8."),
)
FLAGS = ("bits", "group_size", "context", "chunk", "kv")


def size_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: --target, --recipe and the flags that change a recipe."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def recipe_of(recipe_file: str | None, **flags: Any) -> Any:
    """The recipe of a command with these FLAGS on top. Raises UsageError where both say the same thing."""
    if recipe_file and (flags["bits"] is not None or flags["group_size"] is not None):
        raise click.UsageError("--recipe excludes --bits and --group-size; write them into the recipe.")
    from edgec.recipe import Recipe, load_recipe, with_flags

    return with_flags(load_recipe(recipe_file) if recipe_file else Recipe(), *(flags[name] for name in FLAGS))
