"""One name finds everything: op file, kernels' folder, header, C, test."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import edgec.ops
from edgec.ops import find, kernel, kernels, names
from edgec.resources import folder

HERE = Path(__file__).parent
MODULES = sorted({find(name).module for name in names()})


def test_names_list_the_folder() -> None:
    files = {p.stem for p in Path(edgec.ops.__file__).parent.glob("*.py")} - {
        "__init__",
        "attention_work",
        "attention_tiles_work",
        "matmul_nm_work",
        "matmul_work",
        "numerics",
        "op",
    }
    assert files == set(MODULES)
    assert names() == sorted(names())
    with pytest.raises(KeyError):
        find("matmul_w9a8")


@pytest.mark.parametrize("module", MODULES)
def test_an_op_has_its_files(module: str) -> None:
    home = folder("kernels") / module
    assert (home / f"{module}.h").is_file()
    assert (home / f"{module}_generic.c").is_file()
    assert (HERE / f"test_{module}.py").is_file()


@pytest.mark.parametrize("name", names())
def test_an_op_is_complete(name: str) -> None:
    op = find(name)
    assert op.name == name
    assert op.doc
    assert inspect.getmodule(op.reference).__name__ == f"edgec.ops.{op.module}"  # type: ignore[union-attr]
    text = "".join(p.read_text() for p in (folder("kernels") / op.module).glob("*.[ch]"))
    for code in op.kernels:
        stem = "matmul_w" if "matmul" in code.name else code.name  # made by a macro for every width and pattern
        assert f"edgec_{stem}" in text
        assert kernel(code.name) is code


def test_kernels_have_distinct_names() -> None:
    listed = [code.name for code in kernels()]
    assert listed == sorted(set(listed))
    everyone = {id(code): code.name for name in names() for code in find(name).kernels}
    assert sorted(everyone.values()) == listed


@pytest.mark.parametrize("name", names())
def test_an_op_in_place_has_one_output_of_its_inputs_type(name: str) -> None:
    op = find(name)
    if op.in_place:
        from op_laws import examples, types_of

        for _, example in examples(name):
            types = types_of(example.inputs)
            if op.in_place not in types or "width" in example.attrs or "gate_up" in types:
                continue
            assert list(op.infer(types, example.attrs).values()) == [types[op.in_place]]
