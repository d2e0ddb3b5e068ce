"""XpulpV2 that moves lanes: absolute value, extract, insert, shuffle, pack.

A lane number that selects a source comes from the lowest bits of the selector's lane; in the second operand of
pv.shuffle2 the next bit says which register: 1 is rs1, 0 is the old rd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgec.verify.board.instruction import Instruction, register_instruction
from edgec.verify.board.simd import IMMEDIATE, VECTOR, WIDTHS, Width, encoding, immediate

ABS, EXTRACT, EXTRACT_UNSIGNED, INSERT = 0x1C, 0x1E, 0x24, 0x2C
SHUFFLE, SHUFFLE2, PACK, PACK_HIGH, PACK_LOW = 0x30, 0x32, 0x34, 0x36, 0x38
SHUFFLE_IMMEDIATE = (0x30, 0x3A, 0x3C, 0x3E)  # pv.shuffleI0.sci.b to I3: the source of the highest lane


def _abs(width: Width) -> Instruction:
    def compute(_d: int, a: int, _b: int, _numbers: Mapping[str, int]) -> int:
        return sum((abs(width.lane(a, i, True)) & width.mask) << i * width.bits for i in width.lanes)

    parts = ["li {w},0"]
    for lane in reversed(width.lanes):
        parts.append(width.extract("{s}", "{a}", lane, True))
        parts.append("srai {t},{s},31; xor {s},{s},{t}; sub {s},{s},{t}")  # at most 128 or 32768: fits the lane
        parts.append(f"slli {{w}},{{w}},{width.bits}; or {{w}},{{w}},{{s}}")
    template = "; ".join(parts) + "; mv {d},{w}"
    return register_instruction(f"pv.abs.{width.letter}", *encoding(ABS, VECTOR, width), compute, template)


def _lane_numbers(width: Width) -> Callable[[int], Mapping[str, int]]:
    def numbers(word: int) -> Mapping[str, int]:
        shift = immediate(word) * width.bits & 31
        return {
            "shift": shift,
            "left": 32 - width.bits - shift,
            "right": 32 - width.bits,
            "mask": width.mask << shift,
        }

    return numbers


def _lane_refuse(width: Width) -> Callable[[int], str | None]:
    def refuse(word: int) -> str | None:
        lane = immediate(word)
        return None if lane in width.lanes else f"there is no lane {lane} among {len(width.lanes)}"

    return refuse


def _one_lane(width: Width) -> list[Instruction]:
    def extract(is_signed: bool) -> Callable[[int, int, int, Mapping[str, int]], int]:
        return lambda _d, a, _b, n: width.lane(a >> n["shift"], 0, is_signed)

    shared = _lane_numbers(width), _lane_refuse(width)
    return [
        register_instruction(
            f"pv.extract.{width.letter}",
            *encoding(EXTRACT, IMMEDIATE, width),
            extract(True),
            "slli {d},{a},{left}; srai {d},{d},{right}",
            *shared,
        ),
        register_instruction(
            f"pv.extractu.{width.letter}",
            *encoding(EXTRACT_UNSIGNED, IMMEDIATE, width),
            extract(False),
            "slli {d},{a},{left}; srli {d},{d},{right}",
            *shared,
        ),
        register_instruction(
            f"pv.insert.{width.letter}",
            *encoding(INSERT, IMMEDIATE, width),
            lambda d, a, _b, n: d & ~n["mask"] | a << n["shift"] & n["mask"],
            "li {s},{mask}; slli {t},{a},{shift}; and {t},{t},{s}; not {s},{s}; and {s},{d},{s}; or {d},{s},{t}",
            *shared,
        ),
    ]


def _selected(width: Width, selector: str, sources: tuple[str, ...]) -> str:
    """Assembly for a shuffle by a register; sources = (rs1,) or (old rd, rs1)."""
    index_bits = len(width.lanes).bit_length() - 1
    parts = ["li {w},0"]
    for lane in reversed(width.lanes):
        parts.append(f"srli {{t}},{selector},{lane * width.bits}")
        source = sources[0]
        if len(sources) == 2:  # {u} = source 1 if the bit above the index is 1
            parts.append(f"srli {{u}},{{t}},{index_bits}; andi {{u}},{{u}},1; neg {{u}},{{u}}")
            parts.append(f"xor {{v}},{sources[0]},{sources[1]}; and {{v}},{{v}},{{u}}; xor {{u}},{sources[0]},{{v}}")
            source = "{u}"
        shift = width.bits.bit_length() - 1
        parts.append(f"andi {{t}},{{t}},{len(width.lanes) - 1}; slli {{t}},{{t}},{shift}; srl {{s}},{source},{{t}}")
        parts.append(f"slli {{s}},{{s}},{32 - width.bits}; srli {{s}},{{s}},{32 - width.bits}")
        parts.append(f"slli {{w}},{{w}},{width.bits}; or {{w}},{{w}},{{s}}")
    return "; ".join(parts) + "; mv {d},{w}"


def _shuffle(width: Width) -> Instruction:
    def compute(_d: int, a: int, b: int, _numbers: Mapping[str, int]) -> int:
        count = len(width.lanes)
        chosen = (width.lane(a, width.lane(b, i, False) % count, False) for i in width.lanes)
        return sum(value << i * width.bits for i, value in enumerate(chosen))

    template = _selected(width, "{b}", ("{a}",))
    return register_instruction(f"pv.shuffle.{width.letter}", *encoding(SHUFFLE, VECTOR, width), compute, template)


def _shuffle2(width: Width) -> Instruction:
    def compute(d: int, a: int, b: int, _numbers: Mapping[str, int]) -> int:
        total, count = 0, len(width.lanes)
        for i in width.lanes:
            selector = width.lane(b, i, False)
            source = a if selector // count % 2 else d
            total |= width.lane(source, selector % count, False) << i * width.bits
        return total

    template = _selected(width, "{b}", ("{d}", "{a}"))
    return register_instruction(f"pv.shuffle2.{width.letter}", *encoding(SHUFFLE2, VECTOR, width), compute, template)


def _shuffle_by_immediate(name: str, code: int, width: Width, highest: int | None) -> Instruction:
    """Lane numbers from the immediate, lowest lane in the lowest bits; `highest`: the source of the highest lane."""
    index_bits = len(width.lanes).bit_length() - 1

    def sources(word: int) -> list[int]:
        found = [immediate(word) >> i * index_bits & len(width.lanes) - 1 for i in width.lanes]
        return found if highest is None else [*found[:-1], highest]

    def numbers(word: int) -> Mapping[str, int]:
        return {f"shift{i}": source * width.bits for i, source in enumerate(sources(word))}

    def compute(_d: int, a: int, _b: int, values: Mapping[str, int]) -> int:
        return sum((a >> values[f"shift{i}"] & width.mask) << i * width.bits for i in width.lanes)

    parts = ["li {w},0"]
    for lane in reversed(width.lanes):
        parts.append(f"srli {{s}},{{a}},{{shift{lane}}}")
        parts.append(f"slli {{s}},{{s}},{32 - width.bits}; srli {{s}},{{s}},{32 - width.bits}")
        parts.append(f"slli {{w}},{{w}},{width.bits}; or {{w}},{{w}},{{s}}")
    template = "; ".join(parts) + "; mv {d},{w}"
    return register_instruction(name, *encoding(code, IMMEDIATE, width), compute, template, numbers)


def _packs() -> list[Instruction]:
    half, byte = WIDTHS
    return [
        register_instruction(
            "pv.pack.h",
            *encoding(PACK, VECTOR, half),
            lambda _d, a, b, _n: (a & 0xFFFF) << 16 | b & 0xFFFF,
            "slli {s},{a},16; slli {t},{b},16; srli {t},{t},16; or {d},{s},{t}",
        ),
        register_instruction(
            "pv.packhi.b",
            *encoding(PACK_HIGH, VECTOR, byte),
            lambda d, a, b, _n: (a & 0xFF) << 24 | (b & 0xFF) << 16 | d & 0xFFFF,
            "slli {s},{a},24; andi {t},{b},255; slli {t},{t},16; or {s},{s},{t}; slli {t},{d},16; srli {t},{t},16; "
            "or {d},{s},{t}",
        ),
        register_instruction(
            "pv.packlo.b",
            *encoding(PACK_LOW, VECTOR, byte),
            lambda d, a, b, _n: d & 0xFFFF0000 | (a & 0xFF) << 8 | b & 0xFF,
            "andi {s},{a},255; slli {s},{s},8; andi {t},{b},255; or {s},{s},{t}; srli {t},{d},16; slli {t},{t},16; "
            "or {d},{s},{t}",
        ),
    ]


INSTRUCTIONS = [
    *(_abs(width) for width in WIDTHS),
    *(instruction for width in WIDTHS for instruction in _one_lane(width)),
    *(_shuffle(width) for width in WIDTHS),
    *(_shuffle2(width) for width in WIDTHS),
    _shuffle_by_immediate("pv.shuffle.sci.h", SHUFFLE, WIDTHS[0], None),
    *(_shuffle_by_immediate(f"pv.shuffleI{i}.sci.b", code, WIDTHS[1], i) for i, code in enumerate(SHUFFLE_IMMEDIATE)),
    *_packs(),
]
