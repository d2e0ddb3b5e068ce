"""Recipes: TOML to dataclasses; everything wrong is one sentence that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgec.errors import RecipeError
from edgec.recipe import Build, Quantize, Recipe, RoleOverride, load_recipe, with_flags

FULL = """
[build]
context = 256
chunk = 8

[quantize]
method = "rtn"
bits = 3
group_size = 0

[quantize.roles.head]
bits = 8

[quantize.roles.embed]
group_size = 32
"""


def test_a_full_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(FULL)
    recipe = load_recipe(path)
    assert recipe.build == Build(256, 8)
    assert recipe.quantize == Quantize("rtn", 3, 0, {"head": RoleOverride(8), "embed": RoleOverride(None, 32)})
    assert recipe.to_dict()["quantize"]["roles"]["head"] == {"bits": 8, "group_size": None}


def test_an_empty_recipe_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("")
    assert load_recipe(tmp_path / "r.toml") == Recipe()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[build]\ncontexts = 3", "build.contexts"),
        ("[built]\ncontext = 3", "[built]"),
        ("context = 3", "[context]"),
        ("build = 3", "[build]"),
        ("[build]\ncontext = '3'", "build.context"),
        ("[build]\ncontext = true", "build.context"),
        ("[build]\ncontext = 2.5", "build.context"),
        ("[build]\ncontext = 0", "build.context is 0"),
        ("[build]\nchunk = 100000", "build.chunk is 100000"),
        ("[quantize]\nbits = 9", "quantize.bits is 9"),
        ("[quantize]\nbits = 1", "quantize.bits is 1"),
        ("[quantize]\ngroup_size = 7", "quantize.group_size is 7"),
        ("[quantize]\ngroup_size = -1", "quantize.group_size is -1"),
        ("[quantize]\nmethod = 'magic'", "'magic'"),
        ("[quantize]\nmethod = 4", "quantize.method"),
        ("[quantize.roles]\nhead = 8", "quantize.roles.head"),
        ("[quantize.roles.feet]\nbits = 8", "'feet'"),
        ("[quantize.roles.head]\nbits = 12", "quantize.roles.head.bits is 12"),
        ("[quantize.roles.head]\nbit = 4", "quantize.roles.head.bit"),
        ("[quantize]\nroles = 4", "quantize.roles"),
        ("[quantize\n", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "missing.toml")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="is not TOML"):
        load_recipe(tmp_path / "binary.toml")


def test_the_first_override_given_wins() -> None:
    quantize = Quantize("rtn", 4, 64, {"head": RoleOverride(8), "embed": RoleOverride(6, 0)})
    assert quantize.for_roles(["q"]) == (4, 64)
    assert quantize.for_roles(["embed"]) == (6, 0)
    assert quantize.for_roles(["head", "embed"]) == (8, 0)
    assert quantize.for_roles(["q"], beside_packed=True) == (4, 64)
    assert Quantize().for_roles(["embed"]) == Quantize().for_roles(["q"], beside_packed=True) == (4, 64)
    assert Quantize().for_roles(["head", "embed"], beside_packed=True) == (8, 64)
    assert Quantize(bits=6).for_roles(["embed"], beside_packed=True) == (6, 64)


def test_flags_go_on_top() -> None:
    base = Recipe(Quantize(bits=3, group_size=32, roles={"head": RoleOverride(8)}), Build(100, 4))
    assert with_flags(base, None, None, None, None) == base
    flagged = with_flags(base, 5, None, 200, None)
    assert (flagged.quantize.bits, flagged.quantize.group_size, flagged.build) == (5, 32, Build(200, 4))
    assert flagged.quantize.roles == base.quantize.roles
    assert with_flags(base, None, 0, None, None).quantize.group_size == 0
    with pytest.raises(RecipeError):
        with_flags(base, 11, None, None, None)
