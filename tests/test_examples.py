"""The example recipes load, and say what their comments say."""

from pathlib import Path

import pytest

from edgec.recipe import Quantize, load_recipe

RECIPES = sorted((Path(__file__).resolve().parents[1] / "examples" / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_loads(path):
    recipe = load_recipe(path)
    assert recipe.quantize.method == "rtn"


def test_int4_is_the_default():
    int4 = next(p for p in RECIPES if p.stem == "int4")
    assert load_recipe(int4).quantize == Quantize(bits=4)


def test_head_override():
    recipe = load_recipe(next(p for p in RECIPES if p.stem == "int4-head8")).quantize
    assert recipe.for_roles(["head", "embed"]) == (8, 64)
    assert recipe.for_roles(["q"]) == (4, 32)
