"""One phase as C: its transfers start, its call runs beside them, all are waited for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edgec.emit.code_text import HOLE, CodeText, float_literal
from edgec.emit.kernel_copies import KernelCopies
from edgec.memory.call_tables import written
from edgec.memory.plan import Call, Extent, Number, Phase, Position, Region, Transfer
from edgec.ops import kernel
from edgec.ops.op import Param
from edgec.target import Target

C_TYPES = {"f32": "float", "f16": "uint16_t", "i8": "int8_t", "u8": "uint8_t", "i16": "int16_t", "i32": "int32_t"}

# model.c's functions that start a copy if there are rows, by the HAL's hal_dma_<way>.
COPY_ROWS = {"start": "copy_rows", "into": "copy_rows_into", "out_of": "copy_rows_out_of"}


@dataclass(frozen=True)
class Words:
    """What may be said shorter of a program's phases.

    tabled: the arguments of its calls come as `given`; copies: of kernels, of which calls may have one; context: of a
    program whose runs are one token, how many positions there are, else 0; direct: ends of transfers that core 0 starts
    in place, as (source, target), one of them `compute`.
    """

    tabled: bool = False
    copies: KernelCopies | None = None
    context: int = 0
    compute: str = ""
    direct: Collection[tuple[str, str]] = ()


def direct_ends(target: Target) -> frozenset[tuple[str, str]]:
    """The ends between which a chip's own program starts transfers in place: its compute memory, and others on chip."""
    if not target.runtime.hal:
        return frozenset()
    others = [m.name for m in target.memories if m.on_chip and m.name != target.compute]
    return frozenset(pair for name in others for pair in ((target.compute, name), (name, target.compute)))


class _Writer:
    def __init__(self, context: int = 0) -> None:
        self.text: list[str] = []
        self.integers: list[int] = []
        self.context = context

    def code(self) -> CodeText:
        return CodeText("".join(self.text), tuple(self.integers))

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
            if self.all_seen(value):
                self.put("(r->pos + 1u)")
            else:
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

    def all_seen(self, value: Extent) -> bool:
        """Whether a token has the position's number of them, at least one and never too many."""
        return value.from_start and not value.first and 0 < self.context <= value.limit and value.bound > 0


def symbol(level: str) -> str:
    """C name of a memory's arena."""
    return f"edgec_{level.lower()}"


def phase_text(phase: Phase, words: Words = Words()) -> CodeText:
    """A phase as C: start transfers, run the call beside them, wait."""
    w = _Writer(words.context)
    call = phase.call
    ahead = call is not None and words.copies is not None and words.copies.ahead(call)
    beside = phase.transfers if ahead and phase.when is None else ()  # an engine at work does not wait for their start
    for transfer in () if beside else phase.transfers:
        _transfer(w, transfer, words)
    if call is not None:
        if phase.when is not None:
            w.put("if (")
            w.number(phase.when)
            w.put(" > 0) ")
        _call(w, call, words, ahead, beside)
    if phase.transfers:
        ends = {(t.source.level, t.target.level) for t in phase.transfers}
        w.put("hal_dma_end();\n" if ends <= set(words.direct) else "hal_dma_wait();\n")
    return w.code()


def arguments_text(call: Call) -> str:
    """The initialiser of a call's arguments, without those that depend on the position (`written`)."""
    w = _Writer()
    _arguments(w, call, written(call))
    return w.code().render()


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
    return w.code()


def _transfer(w: _Writer, t: Transfer, words: Words) -> None:
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
    target = (t.target, t.target_stride)
    source = (t.source, t.source_stride)
    ends = (t.source.level, t.target.level)
    if ends not in words.direct:
        way, first, second = "start", target, source
    elif t.source.level == words.compute:
        way, first, second = "out_of", source, target
    else:
        way, first, second = "into", target, source
    perhaps = isinstance(t.rows, Extent) and not w.all_seen(t.rows)  # there may be no rows
    w.put(f"{COPY_ROWS[way] if perhaps else f'hal_dma_{way}'}(")
    _end(w, *first)
    w.put(", ")
    _end(w, *second)
    w.put(", ")
    if isinstance(t.rows, Extent):
        w.number(t.rows)
        w.put(", " if perhaps else " * ")
        w.hole(t.row_bytes)
    else:
        assert isinstance(t.rows, int)
        w.hole(t.rows * t.row_bytes)
    w.put(");\n")


def _end(w: _Writer, region: Region, row_bytes: int) -> None:
    w.address(region)
    if row_bytes:
        w.put(" + r->pos * ")
        w.hole(row_bytes)


def _call(w: _Writer, call: Call, words: Words, ahead: bool, beside: Sequence[Transfer]) -> None:
    """Arguments are those that the step is given, or a block, so that all of a step lie at one place of the stack.

    ahead: an accelerator's first job starts here, and then the transfers `beside`.
    """
    function = f"edgec_{call.kernel}" if words.copies is None else words.copies.function(call)
    w.put(f"{{\nedgec_{call.kernel}_args {'*const a = given' if words.tabled else 'args = '}")
    if words.tabled:
        w.put(";\n")
        for p in kernel(call.kernel).params:
            if p.name in written(call):
                w.put(f"a->{p.name} = ")
                _argument(w, call, p)
                w.put(";\n")
    else:
        _arguments(w, call)
        w.put(";\n")
    args = "a" if words.tabled else "&args"
    if ahead:
        w.put(f"FIRST_JOB({args});\n")
    for transfer in beside:
        _transfer(w, transfer, words)
    w.put(f"{function}({args}, 0, 1);" if kernel(call.kernel).directed else f"HAL_FORK({function}, {args});")
    w.put("\n}\n")


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
