"""XpulpV2 on lanes: two half-words (.h) or four bytes (.b) of a word at a time.

Most instructions have three forms: the second operand is a vector, the lowest lane of a register for all lanes (.sc),
or a 6-bit immediate for all lanes (.sci). Dot products add the lanes' products into one 32-bit number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edgec.verify.board.instruction import Instruction, register_instruction, signed

OPCODE = 0x57
VECTOR, SCALAR, IMMEDIATE = 0, 4, 6  # funct3 for half-words; one more for bytes
FORMS = {VECTOR: "", SCALAR: ".sc", IMMEDIATE: ".sci"}


@dataclass(frozen=True)
class Width:
    """How a word is cut into lanes."""

    letter: str
    bits: int
    funct3: int  # added to a form's

    @property
    def lanes(self) -> range:
        """Lane numbers, lowest first."""
        return range(32 // self.bits)

    @property
    def mask(self) -> int:
        """A lane's bits."""
        return (1 << self.bits) - 1

    def lane(self, word: int, lane: int, is_signed: bool) -> int:
        """The number in a lane."""
        part = word >> lane * self.bits & self.mask
        return signed(part, self.bits) if is_signed else part

    def extract(self, target: str, source: str, lane: int, is_signed: bool) -> str:
        """Assembly that puts a lane's number into a register."""
        right, up = ("srai" if is_signed else "srli"), 32 - self.bits * (lane + 1)
        down = f"{right} {target},{target if up else source},{32 - self.bits}"
        return f"slli {target},{source},{up}; {down}" if up else down


WIDTHS = (Width("h", 16, 0), Width("b", 8, 1))


@dataclass(frozen=True)
class Lanes:
    """What an instruction does in each lane: a Python function, and assembly from {s} and {t} into {s}."""

    name: str
    code: int  # bits 31 to 26
    signed_a: bool
    signed_b: bool  # also the immediate
    compute: Callable[[int, int, Width], int]
    template: str


def _select(less: str, first: str, second: str) -> str:
    """{s} if `first` is less than `second`, else {t}."""
    choose = "neg {u},{u}; xor {s},{s},{t}; and {s},{s},{u}; xor {s},{s},{t}"
    return f"{less} {{u}},{first},{second}; {choose}"


def _minimum(less: str) -> str:
    return _select(less, "{s}", "{t}")


def _maximum(less: str) -> str:
    return _select(less, "{t}", "{s}")


def _wrap(right: str) -> str:
    """{s} cut to the lane's width again and extended."""
    return f"slli {{s}},{{s}},{{up}}; {right} {{s}},{{s}},{{up}}"


def _average(right: str) -> str:
    return f"add {{s}},{{s}},{{t}}; {_wrap(right)}; {right} {{s}},{{s}},1"


def _shift(mnemonic: str) -> str:
    return f"andi {{t}},{{t}},{{last_bit}}; {mnemonic} {{s}},{{s}},{{t}}"


def _compared(condition: Callable[[int, int], bool]) -> Callable[[int, int, Width], int]:
    return lambda a, b, width: width.mask if condition(a, b) else 0


def _comparisons() -> Iterator[Lanes]:
    below, above = "slt{u} {{s}},{{s}},{{t}}; ", "slt{u} {{s}},{{t}},{{s}}; "
    negate, invert = "neg {{s}},{{s}}", "addi {{s}},{{s}},-1"
    table: tuple[tuple[str, int, int | None, Callable[[int, int], bool], str], ...] = (
        ("eq", 0x01, None, lambda a, b: a == b, "xor {{s}},{{s}},{{t}}; snez {{s}},{{s}}; " + invert),
        ("ne", 0x03, None, lambda a, b: a != b, "xor {{s}},{{s}},{{t}}; snez {{s}},{{s}}; " + negate),
        ("gt", 0x05, 0x0D, lambda a, b: a > b, above + negate),
        ("ge", 0x07, 0x0F, lambda a, b: a >= b, below + invert),
        ("lt", 0x09, 0x11, lambda a, b: a < b, below + negate),
        ("le", 0x0B, 0x13, lambda a, b: a <= b, above + invert),
    )
    for name, code, unsigned_code, condition, template in table:
        yield Lanes(f"cmp{name}", code, True, True, _compared(condition), template.format(u=""))
        if unsigned_code is not None:
            yield Lanes(f"cmp{name}u", unsigned_code, False, False, _compared(condition), template.format(u="u"))


LANES = (
    Lanes("add", 0x00, True, True, lambda a, b, _w: a + b, "add {s},{s},{t}"),
    Lanes("sub", 0x02, True, True, lambda a, b, _w: a - b, "sub {s},{s},{t}"),
    # the sum wraps to the lane's width before it is halved
    Lanes("avg", 0x04, True, True, lambda a, b, w: signed(a + b, w.bits) >> 1, _average("srai")),
    Lanes("avgu", 0x06, False, False, lambda a, b, w: (a + b & w.mask) >> 1, _average("srli")),
    Lanes("min", 0x08, True, True, lambda a, b, _w: min(a, b), _minimum("slt")),
    Lanes("minu", 0x0A, False, False, lambda a, b, _w: min(a, b), _minimum("sltu")),
    Lanes("max", 0x0C, True, True, lambda a, b, _w: max(a, b), _maximum("slt")),
    Lanes("maxu", 0x0E, False, False, lambda a, b, _w: max(a, b), _maximum("sltu")),
    # a shift takes the amount from the lowest 4 or 3 bits of its lane
    Lanes("srl", 0x10, False, False, lambda a, b, w: a >> b % w.bits, _shift("srl")),
    Lanes("sra", 0x12, True, False, lambda a, b, w: a >> b % w.bits, _shift("sra")),
    Lanes("sll", 0x14, False, False, lambda a, b, w: a << b % w.bits, _shift("sll")),
    Lanes("or", 0x16, True, True, lambda a, b, _w: a | b, "or {s},{s},{t}"),
    Lanes("xor", 0x18, True, True, lambda a, b, _w: a ^ b, "xor {s},{s},{t}"),
    Lanes("and", 0x1A, True, True, lambda a, b, _w: a & b, "and {s},{s},{t}"),
    *_comparisons(),
)

DOT_PRODUCTS = (  # name, code, accumulates, signed_a, signed_b
    ("dotup", 0x20, False, False, False),
    ("dotusp", 0x22, False, False, True),
    ("dotsp", 0x26, False, True, True),
    ("sdotup", 0x28, True, False, False),
    ("sdotusp", 0x2A, True, False, True),
    ("sdotsp", 0x2E, True, True, True),
)


def immediate(word: int) -> int:
    """The 6-bit immediate: its lowest bit is bit 25, the others are bits 24 to 20."""
    return word >> 25 & 1 | (word >> 20 & 31) << 1


def encoding(code: int, form: int, width: Width) -> tuple[int, int]:
    """(mask, match); bit 25 belongs to an immediate or is 0."""
    mask = 0xFC00707F if form == IMMEDIATE else 0xFE00707F
    return mask, code << 26 | form + width.funct3 << 12 | OPCODE


def _numbers(form: int, width: Width, signed_b: bool) -> Callable[[int], Mapping[str, int]]:
    shared = {"up": 32 - width.bits, "last_bit": width.bits - 1, "mask": width.mask}

    def numbers(word: int) -> Mapping[str, int]:
        if form != IMMEDIATE:
            return shared
        value = signed(immediate(word), 6) if signed_b else immediate(word)
        return {**shared, "imm": value}

    return numbers


def _second(form: int, width: Width, lane: int, is_signed: bool) -> str:
    """Assembly that puts the second operand of a lane into {t}; a scalar or immediate is kept in {v}."""
    return width.extract("{t}", "{b}", lane, is_signed) if form == VECTOR else "mv {t},{v}"


def _first(form: int, width: Width, is_signed: bool) -> str:
    """Assembly before the first lane."""
    if form == VECTOR:
        return ""
    return "li {v},{imm}; " if form == IMMEDIATE else width.extract("{v}", "{b}", 0, is_signed) + "; "


def _second_value(form: int, width: Width, is_signed: bool) -> Callable[[int, int, Mapping[str, int]], int]:
    if form == IMMEDIATE:
        return lambda _b, _lane, numbers: width.lane(numbers["imm"], 0, is_signed)
    return lambda b, lane, _numbers: width.lane(b, lane if form == VECTOR else 0, is_signed)


def _elementwise(lanes: Lanes, form: int, width: Width) -> Instruction:
    second = _second_value(form, width, lanes.signed_b)

    def compute(_d: int, a: int, b: int, numbers: Mapping[str, int]) -> int:
        total = 0
        for lane in width.lanes:
            value = lanes.compute(width.lane(a, lane, lanes.signed_a), second(b, lane, numbers), width)
            total |= (value & width.mask) << lane * width.bits
        return total

    # from the highest lane down: {w} = {w} << bits | lane
    parts = [_first(form, width, lanes.signed_b)]
    for lane in reversed(width.lanes):
        parts.append(width.extract("{s}", "{a}", lane, lanes.signed_a))
        parts.append(_second(form, width, lane, lanes.signed_b))
        parts.append(lanes.template)
        parts.append(_wrap("srli"))
        last = lane == width.lanes[-1]
        parts.append("mv {w},{s}" if last else f"slli {{w}},{{w}},{width.bits}; or {{w}},{{w}},{{s}}")
    template = "; ".join(part for part in parts if part) + "; mv {d},{w}"
    numbers = _numbers(form, width, lanes.signed_b)
    name = f"pv.{lanes.name}{FORMS[form]}.{width.letter}"
    return register_instruction(name, *encoding(lanes.code, form, width), compute, template, numbers)


def _dot_product(
    name: str, code: int, adds: bool, signed_a: bool, signed_b: bool, form: int, width: Width
) -> Instruction:
    second = _second_value(form, width, signed_b)

    def compute(d: int, a: int, b: int, numbers: Mapping[str, int]) -> int:
        products = (width.lane(a, lane, signed_a) * second(b, lane, numbers) for lane in width.lanes)
        return sum(products, d if adds else 0)

    parts = [_first(form, width, signed_b)]
    for lane in width.lanes:
        parts.append(width.extract("{s}", "{a}", lane, signed_a))
        factor = "{v}"
        if form == VECTOR:
            parts.append(width.extract("{t}", "{b}", lane, signed_b))
            factor = "{t}"
        parts.append(f"mul {{u}},{{s}},{factor}" if lane == 0 else f"mul {{s}},{{s}},{factor}; add {{u}},{{u}},{{s}}")
    template = "; ".join(part for part in parts if part) + ("; add {d},{d},{u}" if adds else "; mv {d},{u}")
    full_name = f"pv.{name}{FORMS[form]}.{width.letter}"
    numbers = _numbers(form, width, signed_b)
    return register_instruction(full_name, *encoding(code, form, width), compute, template, numbers)


INSTRUCTIONS = [
    *(_elementwise(lanes, form, width) for lanes in LANES for form in FORMS for width in WIDTHS),
    *(_dot_product(*dot_product, form, width) for dot_product in DOT_PRODUCTS for form in FORMS for width in WIDTHS),
]
