"""One phase as C: its transfers start, its call runs beside them, all are waited for."""

from __future__ import annotations

from collections.abc import Collection

from edgec.emit.call_blocks import CallBlocks
from edgec.emit.code_text import HOLE, CodeText, float_literal
from edgec.emit.kernel_copies import KernelCopies
from edgec.memory.call_tables import written
from edgec.memory.plan import Call, Extent, Number, Phase, Position, Region, Transfer
from edgec.ops import kernel
from edgec.ops.op import Param

C_TYPES = {"f32": "float", "f16": "uint16_t", "i8": "int8_t", "u8": "uint8_t", "i16": "int16_t", "i32": "int32_t"}


class _Writer:
    def __init__(self) -> None:
        self.text: list[str] = []
        self.integers: list[int] = []

    def put(self, text: str) -> None:
        self.text.append(text)

    def hole(self, value: int) -> None:
        self.text.append(HOLE)
        self.integers.append(value)

    def address(self, region: Region) -> None:
        self.put(f"{symbol(region.level)} + ")
        self.hole(region.offset)
        if region.row_bytes:
            self.put(" + r->pos * ")
            self.hole(region.row_bytes)

    def number(self, value: Number) -> None:
        if isinstance(value, Extent):
            self.put("seen(r, " if value.from_start else "rows(r, ")
            for i, part in enumerate((value.bound, value.first, value.limit)):
                self.put(", " if i else "")
                self.hole(part)
            self.put(")")
            if value.times != 1:
                self.put(" * ")
                self.hole(value.times)
        elif isinstance(value, Position):
            self.put("r->pos + ")
            self.hole(value.add)
        elif isinstance(value, float):
            self.put(float_literal(value))
        else:
            self.hole(value)


def symbol(level: str) -> str:
    """C name of a memory's arena."""
    return f"edgec_{level.lower()}"


def phase_text(phase: Phase, blocks: CallBlocks | None = None, copies: KernelCopies | None = None) -> CodeText:
    """A phase as C: start transfers, run the call beside them, wait.

    blocks: that get the call's arguments; copies: of kernels, of which the call may have one.
    """
    w = _Writer()
    for transfer in phase.transfers:
        _transfer(w, transfer)
    if phase.call is not None:
        if phase.when is not None:
            w.put("if (")
            w.number(phase.when)
            w.put(" > 0) ")
        _call(w, phase.call, blocks, copies)
    if phase.transfers:
        w.put("hal_dma_wait();\n")
    return CodeText("".join(w.text), tuple(w.integers))


def trace_text(number: int, region: Region, rows: Number, row_bytes: int) -> CodeText:
    """The trace call of one value that a step wrote."""
    w = _Writer()
    w.put("TRACE(")
    w.hole(number)
    w.put(", ")
    w.address(region)
    w.put(", ")
    if isinstance(rows, Extent):
        w.number(rows)
        w.put(" * ")
        w.hole(row_bytes)
    else:
        w.hole(int(rows) * row_bytes)  # type: ignore[arg-type]
    w.put(");\n")
    return CodeText("".join(w.text), tuple(w.integers))


def _transfer(w: _Writer, t: Transfer) -> None:
    if t.start == "token":
        w.put("for (uint32_t row = 0; row < ")
        w.number(t.rows)
        w.put("; row++)\nhal_dma_start(")
        w.address(t.target)
        w.put(" + row * ")
        w.hole(t.row_bytes)
        w.put(", ")
        w.address(t.source)
        w.put(" + (uint32_t)r->tokens[row] * ")
        w.hole(t.row_bytes)
        w.put(", ")
        w.hole(t.row_bytes)
        w.put(");\n")
        return
    if isinstance(t.rows, Extent):
        w.put("copy_rows(")
        _end(w, t.target, t.target_stride)
        w.put(", ")
        _end(w, t.source, t.source_stride)
        w.put(", ")
        w.number(t.rows)
        w.put(", ")
        w.hole(t.row_bytes)
        w.put(");\n")
        return
    w.put("hal_dma_start(")
    _end(w, t.target, t.target_stride)
    w.put(", ")
    _end(w, t.source, t.source_stride)
    w.put(", ")
    assert isinstance(t.rows, int)
    w.hole(t.rows * t.row_bytes)
    w.put(");\n")


def _end(w: _Writer, region: Region, row_bytes: int) -> None:
    w.address(region)
    if row_bytes:
        w.put(" + r->pos * ")
        w.hole(row_bytes)


def _call(w: _Writer, call: Call, blocks: CallBlocks | None, copies: KernelCopies | None) -> None:
    """Arguments are a row of the kernel's table, or a block, so that all of a step lie at one place of the stack."""
    function = f"edgec_{call.kernel}" if copies is None else copies.function(call)
    if blocks is not None:
        arguments, later = _Writer(), written(call)
        _arguments(arguments, call, later)
        row = blocks.row(call.kernel, CodeText("".join(arguments.text), tuple(arguments.integers)).render())
        for p in kernel(call.kernel).params:
            if p.name in later:
                w.put(f"{call.kernel}_calls[")
                w.hole(row)
                w.put(f"].{p.name} = ")
                _argument(w, call, p)
                w.put(";\n")
        w.put(_forked(call, function, f"{call.kernel}_calls + {HOLE}") + "\n")
        w.integers.append(row)
        return
    w.put(f"{{\nedgec_{call.kernel}_args args = ")
    _arguments(w, call)
    w.put(f";\n{_forked(call, function, '&args')}\n}}\n")


def _forked(call: Call, function: str, args: str) -> str:
    return f"{function}({args}, 0, 1);" if kernel(call.kernel).directed else f"HAL_FORK({function}, {args});"


def _arguments(w: _Writer, call: Call, later: Collection[str] = ()) -> None:
    """An initialiser; 0 for those that are written later."""
    w.put("{\n")
    for p in kernel(call.kernel).params:
        if p.name not in later:
            w.put(f".{p.name} = ")
            _argument(w, call, p)
            w.put(",\n")
    w.put("}")


def _argument(w: _Writer, call: Call, p: Param) -> None:
    if not p.is_pointer:
        if p.kind == "f32":
            w.put(float_literal(float(call.numbers[p.name])))  # type: ignore[arg-type]
        else:
            w.number(call.numbers[p.name])
    elif (region := call.regions[p.name]) is None:
        w.put("NULL")
    else:
        w.put(f"({'const ' if p.kind == 'in' else ''}{C_TYPES[p.dtype]} *)(")
        w.address(region)
        w.put(")")
