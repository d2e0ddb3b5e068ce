"""model.c and model.h from a plan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from edgec import __version__
from edgec.emit.call_blocks import CallBlocks
from edgec.emit.code_text import CodeText
from edgec.emit.functions import Function, share
from edgec.emit.kernel_copies import KernelCopies
from edgec.emit.loops import roll
from edgec.emit.phase_text import COPY_ROWS, Words, arguments_text, direct_ends, phase_text, symbol, trace_text
from edgec.emit.templates import render
from edgec.memory.call_tables import calls_buffer, tabled_call
from edgec.memory.plan import Plan, Program, Region, Step
from edgec.ops import kernel, kernel_module


def value_ids(plan: Plan) -> dict[str, int]:
    """Trace number of every value that some step writes."""
    names = dict.fromkeys(v for p in plan.programs.values() for s in p.steps for v, *_ in s.writes)
    return {name: number for number, name in enumerate(names)}


def arena_bytes(plan: Plan, level: str) -> int:
    """Bytes of a memory's arena: what the plan's data take there, and what accelerators may read behind."""
    used, memory = -(-plan.arena_bytes(level) // 16) * 16, plan.target.memory_by_name[level]
    behind = plan.target.read_ahead_bytes if level == plan.target.compute and accelerators(plan) else 0
    return min(used + behind, max(used, memory.capacity_bytes)) if used else 0


def memories(plan: Plan, image_bytes: dict[str, int]) -> list[dict[str, Any]]:
    """The arenas as the templates want them: sizes rounded up to 16 bytes."""
    out = []
    for memory in plan.target.memories:
        used = arena_bytes(plan, memory.name)
        if used:
            name = memory.name
            out.append(
                {
                    "name": name,
                    "symbol": symbol(name),
                    "bytes": used,
                    "capacity": memory.capacity_bytes,
                    "image": f"{name.lower()}.bin" if name in image_bytes else None,
                    "image_bytes": image_bytes.get(name, 0),
                    "writable": not memory.read_only,
                }
            )
    return out


def called_modules(plan: Plan) -> set[str]:
    """Folders of the kernels that the plan calls."""
    phases = (p for g in plan.programs.values() for s in g.steps for p in s.phases)
    called = {p.call.kernel for p in phases if p.call is not None}
    return {kernel_module(name) for name in called}


def included_modules(plan: Plan) -> set[str]:
    """Folders that the called kernels' C includes from, beside their own."""
    phases = (p for g in plan.programs.values() for s in g.steps for p in s.phases)
    return {module for p in phases if p.call is not None for module in kernel(p.call.kernel).uses}


def accelerators(plan: Plan) -> set[str]:
    """Kinds of the accelerators that the plan's kernels direct; each has a folder in kernels/."""
    phases = (p for g in plan.programs.values() for s in g.steps for p in s.phases)
    kernels = [kernel(p.call.kernel) for p in phases if p.call is not None]
    kinds = {a.kind for a in plan.target.accelerators}
    return {kind for k in kernels for kind in (k.engine, *k.uses) if kind in kinds}


def model_c(plan: Plan, title: str, copies: KernelCopies | None = None) -> str:
    """The text of model.c. copies: gets the kernels that calls of a token have of their own."""
    blocks = CallBlocks() if calls_buffer(plan) else None
    functions, programs = _programs(plan, blocks, copies)
    calls = {p.call.kernel for g in plan.programs.values() for s in g.steps for p in s.phases if p.call is not None}
    generates = "decode" in plan.programs
    modules = called_modules(plan) | ({"sample_params"} if generates else set())
    states = {b.name: f"{symbol(b.level)} + {b.offset}u" for b in plan.buffers if b.kind == "state"}
    bodies = "".join(f.body for f in functions)
    return render(
        "model.c.j2",
        title=title,
        version=__version__,
        target=plan.target.name,
        headers=sorted(f"{m}.h" for m in modules),
        kernels=sorted(name for name in calls if f"HAL_FORK(edgec_{name}," in bodies),
        functions=[{"name": f.name, "body": _indent(f.body), "parameters": f.parameters} for f in functions],
        programs=programs,
        copies=copies.listed() if copies else [],
        tables={name: [_indent(row) for row in rows] for name, rows in blocks.tables.items()} if blocks else {},
        used={name for name in ("rows", "seen", "FIRST_JOB", *COPY_ROWS.values()) if re.search(rf"\b{name}\(", bodies)},
        counts={name: len(p.steps) for name, p in plan.programs.items()},
        results={name: _results(p) for name, p in plan.programs.items() if name != "encode" or not generates},
        reads="encode" in plan.programs,
        states=states,
        sweeps=plan.programs["encode"].sweeps if "encode" in plan.programs else [],
    )


def model_h(plan: Plan, title: str, vocab: int, plan_hash: str, start: Sequence[int] = ()) -> str:
    """The text of model.h. start: the tokens with which a model begins to write about a source."""
    return render(
        "model.h.j2",
        title=title,
        version=__version__,
        target=plan.target.name,
        plan_hash=plan_hash,
        vocab=vocab,
        context=plan.context,
        chunk=plan.chunk,
        embedding=_embedding(plan),
        reads="encode" in plan.programs,
        start=start,
        memories=memories(plan, {}),
    )


def _embedding(plan: Plan) -> int:
    """Numbers of a text's vector; 0 of a model that makes none."""
    return 0 if "decode" in plan.programs else plan.programs["encode"].steps[-1].writes[0][3] // 4


def _results(program: Program) -> dict[str, str]:
    """Where the program leaves its token and its logits, or its vector: each program has its own place for them."""
    homes = {name: region for step in program.steps for name, region, *_ in step.writes}
    if program.name == "encode":
        return {"embedding": _address(program.steps[-1].writes[0][1])}
    return {"token": _address(program.steps[-1].writes[0][1]), "logits": _address(homes["logits"])}


def _address(region: Region) -> str:
    return f"{symbol(region.level)} + {region.offset}u"


def _programs(
    plan: Plan, blocks: CallBlocks | None, copies: KernelCopies | None
) -> tuple[list[Function], list[dict[str, Any]]]:
    """The functions that all programs share, and for each program its steps and its table of numbers."""
    ids = value_ids(plan)
    shared = share(
        [
            (step.op, _step_code(step, ids, _words(plan, program, step, blocks is not None, copies)))
            for program in plan.programs.values()
            for step in program.steps
        ]
    )
    programs = []
    at = 0
    for program in plan.programs.values():
        rows: list[dict[str, Any]] = []
        numbers: list[dict[str, Any]] = []
        offset = 0
        for step in program.steps:
            name, values = shared.calls[at]
            at += 1
            comment = f"{step.index}: {step.op} {step.node}" + (f", {step.source}" if step.source else "")
            call = tabled_call(program, step) if blocks else None
            given = (
                f"{call.kernel}_calls + {blocks.row(call.kernel, arguments_text(call))}" if blocks and call else None
            )
            rows.append({"function": name, "offset": offset if values else None, "given": given, "comment": comment})
            if values:
                numbers.append({"values": values, "step": step.index})
                offset += len(values)
        tabled = any(row["given"] for row in rows)
        programs.append({"name": program.name, "rows": program.rows, "steps": rows, "numbers": numbers, "near": tabled})
    return shared.functions, programs


def _words(plan: Plan, program: Program, step: Step, tables: bool, copies: KernelCopies | None) -> Words:
    """How a step is said. A prompt has many rows, and pays little for a call."""
    token = program.name == "decode"
    return Words(
        tables and tabled_call(program, step) is not None,
        copies if token else None,
        plan.context if token else 0,
        plan.target.compute,
        direct_ends(plan.target),
    )


def _step_code(step: Step, ids: dict[str, int], words: Words) -> CodeText:
    code = roll([phase_text(phase, words) for phase in step.phases])
    for value, region, rows, row_bytes in step.writes:
        code += trace_text(ids[value], region, rows, row_bytes)
    return code


def _indent(text: str) -> str:
    """Indent by braces, four spaces a level."""
    out, depth = [], 1
    for line in text.splitlines():
        depth -= line.startswith("}")
        out.append("    " * depth + line if line else line)
        depth += line.endswith("{")
    return "\n".join(out) + "\n"
