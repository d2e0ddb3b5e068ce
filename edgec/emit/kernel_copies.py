"""Copies of kernels for the calls of a token, in which the numbers that the call never changes are constants.

Code that runs once a token and layer is fetched for it, so on Siracusa every instruction counts twice: a shape that is
loaded, tested and cut anew in each call costs more than the arithmetic of a small model. In a copy the compiler knows
the shape. A copy is a file that includes the kernel's own one with its names changed and EDGEC_FIXED defined
(EDGEC_KNOWN of kernels/common/edgec_kernel.h); kernels that do not say EDGEC_KNOWN have none. Only the chip's own
program has copies: elsewhere their names stand for the kernels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache

from edgec.emit.code_text import float_literal
from edgec.emit.templates import render
from edgec.memory.plan import Call
from edgec.ops import kernel, kernel_module, kernels_of
from edgec.resources import folder
from edgec.target import Target

COPIES = "calls"  # the folder of their files, beside the chip's HAL
MOST = 16  # copies of a program: each is compiled, and lies in the code's memory

Key = tuple[str, tuple[tuple[str, str], ...]]  # a kernel, and the C literal of each argument that is known


@dataclass
class KernelCopies:
    """The copies of a plan's kernels, by what is known, in order of first use."""

    variants: frozenset[str]  # of kernels' files that the chip's program is made of
    found: dict[Key, str] = field(default_factory=dict)

    def function(self, call: Call) -> str:
        """The C function that carries out the call: a copy's, or the kernel's own."""
        name = f"edgec_{call.kernel}"
        if source(call.kernel, self.variants) is None:
            return name
        key = (call.kernel, known(call))
        if key not in self.found and len(self.found) == MOST:
            return name
        return self.found.setdefault(key, f"{name}_of_{len(self.found) + 1}")

    def ahead(self, call: Call) -> bool:
        """Whether the step starts an accelerator's first job before the call, which has a copy that knows of it.

        A call of a single row begins with that job as its arguments do, and the step's own transfers do not hold up an
        accelerator that is at work already.
        """
        return starts_ahead(call.kernel, known(call)) and self.function(call) != f"edgec_{call.kernel}"

    def listed(self) -> list[dict[str, object]]:
        """What model.c says of each copy."""
        return [
            {"function": function, "kernel": name, "directed": kernel(name).directed}
            for (name, _), function in self.found.items()
        ]

    def files(self) -> dict[str, str]:
        """The text of each copy's file by name."""
        return {
            f"{function.removeprefix('edgec_')}.c": render(
                "kernel_copy.c.j2",
                kernel=name,
                source=source(name, self.variants),
                names=kernels_of(kernel_module(name)),
                suffix=function.removeprefix(f"edgec_{name}"),
                known=literals,
                ahead=starts_ahead(name, literals),
            )
            for (name, literals), function in self.found.items()
        }


def starts_ahead(name: str, literals: tuple[tuple[str, str], ...]) -> bool:
    """Whether a call of a kernel begins with a job of an accelerator: a single row's does."""
    return kernel(name).engine == "neureka" and ("m", "1u") in literals


def copies_for(target: Target, variants: frozenset[str]) -> KernelCopies | None:
    """Where a plan's copies are gathered; None: the target has no program of its own."""
    return KernelCopies(variants) if target.runtime.hal else None


def known(call: Call) -> tuple[tuple[str, str], ...]:
    """The arguments of a call that no run changes, but addresses, as C literals; a missing tensor is NULL."""
    literals = []
    for p in kernel(call.kernel).params:
        if p.is_pointer:
            if call.regions[p.name] is None:
                literals.append((p.name, "NULL"))
        elif isinstance(number := call.numbers[p.name], int | float):
            literals.append((p.name, float_literal(number) if p.kind == "f32" else f"{number}u"))
    return tuple(literals)


@cache
def source(name: str, variants: frozenset[str]) -> str | None:
    """The kernel's file for the chip, if it says EDGEC_KNOWN."""
    module = kernel_module(name)
    defined = re.compile(rf"\b(edgec_{name}|{name.removeprefix('matmul_')})\b")  # a function, or a macro's argument
    for path in sorted((folder("kernels") / module).glob("*.c")):
        text = path.read_text()
        if path.stem.rpartition("_")[2] in variants and "EDGEC_KNOWN(" in text and defined.search(text):
            return f"kernels/{module}/{path.name}"
    return None
