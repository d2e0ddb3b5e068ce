"""The ops. One file an op (or family of ops); `names()` lists the folder, nothing is registered by hand."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from functools import cache

from edgec.ops.op import Kernel, Op

_NOT_OPS = {"attention_tiles_work", "attention_work", "matmul_nm_work", "matmul_work", "numerics", "op"}


@cache
def _table() -> dict[str, Op]:
    ops: dict[str, Op] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name not in _NOT_OPS:
            for op in importlib.import_module(f"{__name__}.{module.name}").OPS:
                ops[op.name] = replace(op, module=module.name)
    return ops


@cache
def _kernels() -> dict[str, Kernel]:
    return {kernel.name: kernel for op in _table().values() for kernel in op.kernels}


def names() -> list[str]:
    """Names of all ops, sorted."""
    return sorted(_table())


def find(name: str) -> Op:
    """The op of this name; KeyError if there is none."""
    return _table()[name]


def kernel(name: str) -> Kernel:
    """The kernel of this name; KeyError if there is none."""
    return _kernels()[name]


def kernel_module(name: str) -> str:
    """The folder of a kernel, which is its op's module; KeyError if there is none."""
    return _kernel_modules()[name]


@cache
def _kernel_modules() -> dict[str, str]:
    return {kernel.name: op.module for op in _table().values() for kernel in op.kernels}


def kernels_of(module: str) -> tuple[str, ...]:
    """The names of a folder's kernels, sorted."""
    return tuple(sorted(name for name, found in _kernel_modules().items() if found == module))


def kernels() -> list[Kernel]:
    """All kernels, sorted by name."""
    return [_kernels()[name] for name in sorted(_kernels())]
