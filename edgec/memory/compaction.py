"""compact(): the buffers of a program placed anew, all at once, once every step's tiles and slots are known.

While steps are planned one by one, activations take their places before the slots that share the memory with them.
Here sizes and lifetimes are final, so each level is packed again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from edgec.memory.offsets import Piece, Placed, assign
from edgec.memory.placement import align
from edgec.memory.plan import Buffer, Call, Phase, Program, Region, Step, Transfer
from edgec.memory.repeat import Copied

Moves = dict[str, tuple[list[int], list[int]]]  # by level: old offsets ascending, and what is added to each


def compact(program: Program, permanent: list[Buffer], claims: list[Buffer] | None = None) -> Program:
    """The program with its buffers placed anew, behind the permanent ones of their levels.

    claims: its buffers with the lifetimes that they shall have from now on, which contain their present ones.
    """
    return relocate(program, packed(claims or program.buffers, permanent)[0])


def packed(buffers: list[Buffer], permanent: list[Buffer]) -> tuple[list[Buffer], dict[str, Placed]]:
    """The buffers of a program at new offsets, and by level how those were found."""
    buffers, how = list(buffers), dict[str, Placed]()
    for level in dict.fromkeys(b.level for b in buffers):
        ours = [i for i, b in enumerate(buffers) if b.level == level]
        floor = align(max((b.offset + b.size for b in permanent if b.level == level), default=0))
        pieces = [Piece(align(buffers[i].size), buffers[i].start, buffers[i].end) for i in ours]
        how[level] = assign(pieces, floor)
        for i, offset in zip(ours, how[level].offsets, strict=True):
            buffers[i] = replace(buffers[i], offset=offset)
    return buffers, how


def relocate(
    program: Program, buffers: list[Buffer], how: dict[str, Placed] | None = None, copies: bool = True
) -> Program:
    """The program with `buffers`, its own at other offsets or longer alive, and every region moved with its buffer.

    how: what is noted of the search for them. copies: False, and phases of equal steps stay to be made when they are
    read: for a plan that is only counted, and may have hundreds of thousands.
    """
    starting: dict[int, list[tuple[Buffer, int]]] = {}
    for old, new in zip(program.buffers, buffers, strict=True):
        starting.setdefault(old.start, []).append((old, new.offset - old.offset))
    alive: list[tuple[Buffer, int]] = []
    steps = []
    for step in program.steps:
        alive = [(b, by) for b, by in alive if b.end > step.index] + starting.get(step.index, [])
        steps.append(_moved(step, _moves(alive), copies))
    return Program(program.name, program.rows, steps, buffers, how or {})


def _moves(alive: list[tuple[Buffer, int]]) -> Moves:
    moves: Moves = {}
    for b, by in sorted(alive, key=lambda item: item[0].offset):
        offsets, additions = moves.setdefault(b.level, ([], []))
        # Behind a buffer's end begins what does not move: permanent buffers, until the next of ours.
        if offsets and offsets[-1] == b.offset:
            additions[-1] = by
        else:
            offsets.append(b.offset)
            additions.append(by)
        offsets.append(b.offset + b.size)
        additions.append(0)
    return {level: move for level, move in moves.items() if any(move[1])}


def _moved(step: Step, moves: Moves, copies: bool) -> Step:
    copied = step.phases if isinstance(step.phases, Copied) else None
    if not moves:
        return step if copied is None or not copies else replace(step, phases=tuple(copied))
    done: dict[int, Region] = {}  # a slot's region is shared by the transfer into it and the call that reads it

    def new_offset(level: str, offset: int) -> int:
        here = moves.get(level)
        if here is None:
            return offset
        at = bisect_right(here[0], offset) - 1
        return offset + here[1][at] if at >= 0 else offset

    def move(region: Region) -> Region:
        known = done.get(id(region))
        if known is None:
            offset = new_offset(region.level, region.offset)
            known = region
            if offset != region.offset:
                known = Region(region.level, offset, region.size, region.value, region.at, region.row_bytes)
            done[id(region)] = known
        return known

    def transfer(t: Transfer) -> Transfer:
        source, target = move(t.source), move(t.target)
        if source is t.source and target is t.target:
            return t
        return Transfer(t.link, source, target, t.row_bytes, t.rows, t.start)

    def phase(p: Phase) -> Phase:
        call = p.call
        if call is not None:
            regions = {name: region and move(region) for name, region in call.regions.items()}
            call = Call(call.kernel, call.engine, regions, call.numbers, call.any_rows)
        return Phase(tuple([transfer(t) for t in p.transfers]), call, p.when)

    writes = tuple((value, move(region), rows, size) for value, region, rows, size in step.writes)
    phases: Sequence[Phase] = tuple([phase(p) for p in step.phases]) if copied is None else copied.moved(new_offset)
    if copied is not None and copies:
        phases = tuple(phases)
    return Step(step.index, step.node, step.op, step.source, phases, writes)
