"""XpulpV2 on single words: minimum, clip, multiply-accumulate, bit fields, bit counting.

Selections are made without branches: x ^ ((x ^ y) & -condition) is y where the condition is 1, else x.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgec.verify.board.instruction import MASK, Instruction, r_type, register_instruction, rs2, signed

OP = 0x33
MULTIPLY = 0x5B

COUNT_ONES = """
    srli {t},{s},1; li {u},0x55555555; and {t},{t},{u}; sub {s},{s},{t}
    li {u},0x33333333; srli {t},{s},2; and {t},{t},{u}; and {s},{s},{u}; add {s},{s},{t}
    srli {t},{s},4; add {s},{s},{t}; li {u},0x0f0f0f0f; and {s},{s},{u}
    li {u},0x01010101; mul {s},{s},{u}; srli {s},{s},24
"""
SMEAR_RIGHT = "; ".join(f"srli {{t}},{{s}},{n}; or {{s}},{{s}},{{t}}" for n in (1, 2, 4, 8, 16))


def minimum(first: str, second: str, result: str, less: str) -> str:
    """Assembly for the smaller of two registers; spoils {s} and {t}."""
    return (
        f"{less} {{s}},{first},{second}; neg {{s}},{{s}}; xor {{t}},{first},{second}; and {{t}},{{t}},{{s}}; "
        f"xor {result},{second},{{t}}"
    )


def maximum(first: str, second: str, result: str, less: str) -> str:
    """Assembly for the larger of two registers; spoils {s} and {t}."""
    return (
        f"{less} {{s}},{first},{second}; neg {{s}},{{s}}; xor {{t}},{first},{second}; and {{t}},{{t}},{{s}}; "
        f"xor {result},{first},{{t}}"
    )


def clip(value: int, low: int, high: int) -> int:
    """Low if value is below it, else the smaller of value and high; all signed."""
    return low if value < low else min(value, high)


CLIP = (  # low in {u}, high in {v}: the smaller of {a} and high, or low
    minimum("{a}", "{v}", "{v}", "slt")
    + "; slt {s},{a},{u}; neg {s},{s}; xor {t},{v},{u}; and {t},{t},{s}; xor {d},{v},{t}"
)
CLIP_UNSIGNED = minimum("{a}", "{v}", "{v}", "slt") + "; slt {s},zero,{a}; neg {s},{s}; and {d},{v},{s}"


def clip_numbers(word: int) -> Mapping[str, int]:
    """Bounds of a clip to `bits` bits: −2^(bits−1) and 2^(bits−1) − 1; 0 bits count as 1."""
    half = 1 << max(rs2(word) - 1, 0)
    return {"low": -half, "high": half - 1}


def field_numbers(word: int) -> Mapping[str, int]:
    """A bit field of Is3 + 1 bits from bit Is2 on: the shifts that extract it, and its mask."""
    width, shift = (word >> 25 & 31) + 1, rs2(word)
    return {
        "left": 32 - width - shift,
        "right": 32 - width,
        "shift": shift,
        "width": width,
        "mask": (1 << width) - 1 << shift & MASK,
    }


def field_refuse(word: int) -> str | None:
    """A field must end at bit 31 or below: what lies beyond is not defined."""
    end = (word >> 25 & 31) + rs2(word)
    return f"its bit field reaches bit {end} of 31" if end > 31 else None


def extract(value: int, numbers: Mapping[str, int]) -> int:
    """The unsigned bit field."""
    return (value & numbers["mask"]) >> numbers["shift"]


def find_last_one(value: int) -> int:
    """Index of the highest bit that is 1, or 32."""
    return value.bit_length() - 1 if value else 32


def leading_sign_bits(value: int) -> int:
    """How many bits below the sign bit equal it; 0 for 0."""
    return 31 - (value ^ (MASK if value >> 31 else 0)).bit_length() if value else 0


def _two_sources() -> list[Instruction]:
    def op(name: str, funct3: int, funct7: int, compute: Callable[[int, int], int], template: str) -> Instruction:
        return register_instruction(name, *r_type(OP, funct3, funct7), lambda _d, a, b, _n: compute(a, b), template)

    def signed_op(
        name: str, funct3: int, funct7: int, compute: Callable[[int, int], int], template: str
    ) -> Instruction:
        return op(name, funct3, funct7, lambda a, b: compute(signed(a), signed(b)), template)

    return [
        signed_op("p.slet", 2, 0x02, lambda a, b: int(a <= b), "slt {s},{b},{a}; xori {d},{s},1"),
        op("p.sletu", 3, 0x02, lambda a, b: int(a <= b), "sltu {s},{b},{a}; xori {d},{s},1"),
        signed_op("p.min", 4, 0x02, min, minimum("{a}", "{b}", "{d}", "slt")),
        op("p.minu", 5, 0x02, min, minimum("{a}", "{b}", "{d}", "sltu")),
        signed_op("p.max", 6, 0x02, max, maximum("{a}", "{b}", "{d}", "slt")),
        op("p.maxu", 7, 0x02, max, maximum("{a}", "{b}", "{d}", "sltu")),
        op(
            "p.ror",
            5,
            0x04,
            lambda a, b: a >> (b & 31) | a << (-b & 31),
            "neg {s},{b}; sll {s},{a},{s}; srl {t},{a},{b}; or {d},{s},{t}",
        ),
        op(  # the field is in b: its width less 1 in bits 9 to 5, its place below
            "p.bclrr",
            3,
            0x40,
            lambda a, b: a & ~((2 << (b >> 5 & 31)) - 1 << (b & 31)),
            "srli {s},{b},5; li {t},2; sll {t},{t},{s}; addi {t},{t},-1; sll {t},{t},{b}; not {t},{t}; and {d},{a},{t}",
        ),
        signed_op("p.clipr", 5, 0x0A, lambda a, b: clip(a, -b - 1, b), "not {u},{b}; mv {v},{b}; " + CLIP),
        signed_op("p.clipur", 6, 0x0A, lambda a, b: min(a, b) if a > 0 else 0, "mv {v},{b}; " + CLIP_UNSIGNED),
    ]


def _one_source() -> list[Instruction]:
    def op(name: str, funct3: int, funct7: int, compute: Callable[[int], int], template: str) -> Instruction:
        mask, match = r_type(OP, funct3, funct7)  # the field rs2 is 0
        return register_instruction(name, mask | 31 << 20, match, lambda _d, a, _b, _n: compute(a), template)

    return [
        op("p.abs", 0, 0x02, lambda a: abs(signed(a)), "srai {s},{a},31; xor {t},{a},{s}; sub {d},{t},{s}"),
        op(
            "p.ff1",
            0,
            0x08,
            lambda a: (a & -a).bit_length() - 1 if a else 32,
            "addi {s},{a},-1; not {t},{a}; and {s},{s},{t}" + COUNT_ONES + "mv {d},{s}",
        ),
        op(
            "p.fl1",
            1,
            0x08,
            find_last_one,
            "mv {s},{a}; " + SMEAR_RIGHT + COUNT_ONES + "sltiu {t},{s},1; li {u},33; mul {t},{t},{u}; addi {s},{s},-1"
            "; add {d},{s},{t}",
        ),
        op(
            "p.clb",
            2,
            0x08,
            leading_sign_bits,
            "srai {s},{a},31; xor {s},{s},{a}; " + SMEAR_RIGHT + COUNT_ONES + "li {t},31; sub {s},{t},{s}"
            "; snez {t},{a}; neg {t},{t}; and {d},{s},{t}",
        ),
        op("p.cnt", 3, 0x08, lambda a: a.bit_count(), "mv {s},{a}; " + COUNT_ONES + "mv {d},{s}"),
        op("p.exths", 4, 0x08, lambda a: signed(a, 16), "slli {d},{a},16; srai {d},{d},16"),
        op("p.exthz", 5, 0x08, lambda a: a & 0xFFFF, "slli {d},{a},16; srli {d},{d},16"),
        op("p.extbs", 6, 0x08, lambda a: signed(a, 8), "slli {d},{a},24; srai {d},{d},24"),
        op("p.extbz", 7, 0x08, lambda a: a & 0xFF, "andi {d},{a},255"),
    ]


def _with_numbers() -> list[Instruction]:
    field = 0xC000707F, 3 << 30 | OP  # bits 31 and 30, then Is3 and Is2

    return [
        register_instruction(
            "p.clip",
            *r_type(OP, 1, 0x0A),
            lambda _d, a, _b, n: clip(signed(a), n["low"], n["high"]),
            "li {u},{low}; li {v},{high}; " + CLIP,
            clip_numbers,
        ),
        register_instruction(
            "p.clipu",
            *r_type(OP, 2, 0x0A),
            lambda _d, a, _b, n: min(max(signed(a), 0), n["high"]),
            "li {v},{high}; " + CLIP_UNSIGNED,
            clip_numbers,
        ),
        register_instruction(
            "p.extract",
            *field,
            lambda _d, a, _b, n: signed(extract(a, n), n["width"]),
            "slli {d},{a},{left}; srai {d},{d},{right}",
            field_numbers,
            field_refuse,
        ),
        register_instruction(
            "p.extractu",
            field[0],
            field[1] | 1 << 12,
            lambda _d, a, _b, n: extract(a, n),
            "slli {d},{a},{left}; srli {d},{d},{right}",
            field_numbers,
            field_refuse,
        ),
        register_instruction(
            "p.insert",
            field[0],
            field[1] | 2 << 12,
            lambda d, a, _b, n: d & ~n["mask"] | a << n["shift"] & n["mask"],
            "li {s},{mask}; slli {t},{a},{shift}; and {t},{t},{s}; not {s},{s}; and {s},{d},{s}; or {d},{s},{t}",
            field_numbers,
            field_refuse,
        ),
        register_instruction(
            "p.bclr",
            field[0],
            field[1] | 3 << 12,
            lambda _d, a, _b, n: a & ~n["mask"],
            "li {s},{mask}; not {s},{s}; and {d},{a},{s}",
            field_numbers,
            field_refuse,
        ),
        register_instruction(
            "p.bset",
            field[0],
            field[1] | 4 << 12,
            lambda _d, a, _b, n: a | n["mask"],
            "li {s},{mask}; or {d},{a},{s}",
            field_numbers,
            field_refuse,
        ),
    ]


def _multiply_accumulate() -> list[Instruction]:
    return [
        register_instruction(
            "p.mac", *r_type(OP, 0, 0x21), lambda d, a, b, _n: d + a * b, "mul {s},{a},{b}; add {d},{d},{s}"
        ),
        register_instruction(
            "p.msu", *r_type(OP, 1, 0x21), lambda d, a, b, _n: d - a * b, "mul {s},{a},{b}; sub {d},{d},{s}"
        ),
    ]


def _normalised(name: str, match: int, is_signed: bool, value: Callable[..., int], template: str) -> list[Instruction]:
    """A sum that is shifted right by 0 to 31 bits, with funct3 bit 2 after adding half a unit."""

    def numbers(word: int) -> Mapping[str, int]:
        shift = word >> 25 & 31
        return {"shift": shift, "half": 1 << shift >> 1}

    def shifted(total: int, numbers: Mapping[str, int]) -> int:
        return (signed(total) if is_signed else total & MASK) >> numbers["shift"]

    def plain(d: int, a: int, b: int, numbers: Mapping[str, int]) -> int:
        return shifted(value(d, a, b), numbers)

    def rounded(d: int, a: int, b: int, numbers: Mapping[str, int]) -> int:
        return shifted(value(d, a, b) + numbers["half"], numbers)

    mask, shift = 0xC000707F, f"; {'srai' if is_signed else 'srli'} {{d}},{{s}},{{shift}}"
    half = "; li {t},{half}; add {s},{s},{t}"
    return [
        register_instruction(f"p.{name}N", mask, match, plain, template + shift, numbers),
        register_instruction(f"p.{name}RN", mask, match | 4 << 12, rounded, template + half + shift, numbers),
    ]


def _half_word_products() -> list[Instruction]:
    found = []
    for code, suffix, is_signed, high in ((0, "u", 0, 0), (1, "hhu", 0, 1), (2, "s", 1, 0), (3, "hhs", 1, 1)):
        shift = "srai" if is_signed else "srli"

        def half(value: int, high: int = high, is_signed: int = is_signed) -> int:
            part = value >> 16 if high else value & 0xFFFF
            return signed(part, 16) if is_signed else part

        first, second = (
            f"{shift} {{{to}}},{{{register}}},16"
            if high
            else f"slli {{{to}}},{{{register}}},16; {shift} {{{to}}},{{{to}}},16"
            for to, register in (("s", "a"), ("t", "b"))
        )
        product = f"{first}; {second}; mul {{s}},{{s}},{{t}}"
        match = code << 30 | MULTIPLY
        found += _normalised(
            f"mul{suffix}", match, bool(is_signed), lambda _d, a, b, half=half: half(a) * half(b), product
        )
        found += _normalised(
            f"mac{suffix}",
            match | 1 << 12,
            bool(is_signed),
            lambda d, a, b, half=half: d + half(a) * half(b),
            product + "; add {s},{s},{d}",
        )
    return found


def _normalised_sums() -> list[Instruction]:
    found = []
    for code, suffix, is_signed in ((0, "", True), (2, "u", False)):
        match = code << 30 | MULTIPLY
        found += _normalised(f"add{suffix}", match | 2 << 12, is_signed, lambda _d, a, b: a + b, "add {s},{a},{b}")
        found += _normalised(f"sub{suffix}", match | 3 << 12, is_signed, lambda _d, a, b: a - b, "sub {s},{a},{b}")
    return found


INSTRUCTIONS = (
    _two_sources()
    + _one_source()
    + _with_numbers()
    + _multiply_accumulate()
    + _half_word_products()
    + _normalised_sums()
)
