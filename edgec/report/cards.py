"""Cards: what a target has and what an op is, as plain text for `edgec target` and `edgec op`."""

from __future__ import annotations

import importlib
import inspect
from difflib import get_close_matches
from pathlib import Path

from edgec import ops
from edgec.errors import EdgecError
from edgec.ops.op import Kernel, Op, Param
from edgec.resources import folder
from edgec.target import load_target, names

CHECKOUT = Path(__file__).resolve().parents[2]


def target_lines() -> list[str]:
    """Name and summary of every shipped target."""
    return [f"{name:12} {load_target(name).summary}" for name in names()]


def target_card(name: str) -> str:
    """Memories, links and engines of a target. Raises TargetError if there is none."""
    t = load_target(name)
    p = t.placement
    lines = [f"{t.name}: {t.summary}", f"clock {t.clock_hz / 1e6:,.0f} MHz; kernels compute in {t.compute}", ""]
    lines.append(f"{'memory':8}{'capacity B':>15}  {'address':12}where")
    for m in t.memories:
        address = "-" if m.base is None else f"0x{m.base:08x}"
        where = ("on chip" if m.on_chip else "off chip") + (", read-only" if m.read_only else "")
        lines.append(f"{m.name:8}{m.capacity_bytes:15,}  {address:12}{where}")
    lines += ["", f"{'link':12}{'B/cycle':>9}{'setup cycles':>14}{'most B':>15}"]
    for link in t.links:
        lines.append(f"{link.name:12}{link.bytes_per_cycle:9g}{link.setup_cycles:14,}{link.max_bytes:15,}")
    lines += ["", f"{'engine':12}{'cores':>7}{'cycles/MAC':>12}{'cycles/flop':>13}{'fork cycles':>13}"]
    for e in t.engines:
        lines.append(f"{e.name:12}{e.cores:7}{e.cycles_per_mac:12g}{e.cycles_per_flop:13g}{e.fork_cycles:13,}")
    for a in t.accelerators:
        lines.append(f"{a.name:12}reads weights from {', '.join(a.weights)}; {a.start_cycles:,} cycles to start a job")
    lines += ["", f"weights go to {', then '.join(p.weights)}; cache to {', then '.join(_levels(p.kv))}"]
    lines.append(f"program in {p.program}, {p.program_bytes:,} B kept for it; stack {t.runtime.stack_bytes:,} B")
    if name in names():
        lines.append(f"from targets/{name}.toml, which says where each number comes from")
    return "\n".join(lines)


def _levels(levels: str | tuple[str, ...]) -> tuple[str, ...]:
    return (levels,) if isinstance(levels, str) else levels


def op_lines() -> list[str]:
    """Name and summary of every op."""
    found = [ops.find(name) for name in ops.names()]
    width = max(len(op.name) for op in found)
    return [f"{op.name:{width}}  {op.doc}" for op in found]


def op_card(name: str) -> str:
    """Documentation, files and kernel parameters of an op. Raises EdgecError if there is none."""
    try:
        op = ops.find(name)
    except KeyError:
        near = get_close_matches(name, ops.names(), 1)
        hint = f"did you mean {near[0]}?" if near else "see edgec op list."
        raise EdgecError(f"there is no op {name!r}; {hint}") from None
    doc = inspect.getdoc(importlib.import_module(f"edgec.ops.{op.module}")) or op.doc
    lines = [f"{op.name}: {op.doc}", "", doc, ""]
    lines += [f"{kind:12}{path}" for kind, path in op_files(op)]
    if op.in_place:
        lines.append(f"{'in place':12}may overwrite {op.in_place}")
    for kernel in op.kernels:
        lines += ["", *_kernel(kernel)]
    return "\n".join(lines)


def op_files(op: Op) -> list[tuple[str, str]]:
    """(what, path) of everything that belongs to an op; its name finds all of it."""
    files = [("spec", f"edgec/ops/{op.module}.py")]
    kernels = folder("kernels") / op.module
    files += [("header", f"kernels/{op.module}/{path.name}") for path in sorted(kernels.glob("*.h"))]
    files += [("kernel", f"kernels/{op.module}/{path.name}") for path in sorted(kernels.glob("*.c"))]
    tiling = f"edgec/memory/tiling/{op.module}.py"
    own = (CHECKOUT / tiling).is_file()
    files.append(("tiling", tiling if own else "edgec/memory/tiling/whole.py"))
    test = f"tests/ops/test_{op.module}.py"
    return [*files, ("test", test)] if (CHECKOUT / test).is_file() else files


def _kernel(kernel: Kernel) -> list[str]:
    lines = [f"kernel edgec_{kernel.name}(const edgec_{kernel.name}_args *a, uint32_t core, uint32_t n_cores)"]
    width = max(len(p.name) for p in kernel.params)
    return lines + [f"  {p.name:{width}}  {_param(p)}" for p in kernel.params]


def _param(p: Param) -> str:
    text = f"{p.kind} {p.dtype}*" if p.is_pointer else p.kind
    return text + (", may be absent" if p.optional else "") + (f", only written if {p.fresh} is 0" if p.fresh else "")
