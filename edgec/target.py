"""Target: what a chip has, as data. `targets/<name>.toml` holds every number with its unit and source."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgec.chip import Accelerator, Engine, KernelCost, Link, Memory, Placement, Runtime
from edgec.errors import TargetError
from edgec.resources import folder
from edgec.toml_tables import listed, make, tables

FLOAT_ABIS = ("f", "zfinx", "soft")
ACCELERATORS = ("neureka",)


@dataclass(frozen=True)
class Target:
    """A chip: memories, links between them, engines, and where things go."""

    name: str
    summary: str
    clock_hz: int
    compute: str
    placement: Placement
    runtime: Runtime
    memories: tuple[Memory, ...]
    links: tuple[Link, ...]
    engines: tuple[Engine, ...]
    accelerators: tuple[Accelerator, ...] = ()

    @cached_property
    def memory_by_name(self) -> dict[str, Memory]:
        """Memories by name."""
        return {m.name: m for m in self.memories}

    @cached_property
    def link_by_name(self) -> dict[str, Link]:
        """Links by name."""
        return {link.name: link for link in self.links}

    @property
    def engine_names(self) -> tuple[str, ...]:
        """Names of engines and accelerators."""
        return tuple(e.name for e in self.engines) + tuple(a.name for a in self.accelerators)

    def accelerator(self, kind: str) -> Accelerator | None:
        """The accelerator of a kind, if there is one."""
        return self._accelerators.get(kind)

    @cached_property
    def _accelerators(self) -> dict[str, Accelerator]:
        return {a.kind: a for a in reversed(self.accelerators)}

    @cached_property
    def engine_by_name(self) -> dict[str, Engine]:
        """Engines by name, without the accelerators."""
        return {e.name: e for e in self.engines}

    def streams(self, kind: str, level: str) -> bool:
        """Whether an accelerator of this kind reads weights from a level."""
        found = self.accelerator(kind)
        return found is not None and level in found.weights

    @property
    def read_ahead_bytes(self) -> int:
        """Bytes behind the last of the compute memory's that must be readable."""
        return max((a.read_ahead_bytes for a in self.accelerators), default=0)

    @property
    def reserved_bytes(self) -> int:
        """Bytes of the stacks' level that stacks and the HAL's variables take; 0 where the linker places the stack."""
        r, workers = self.runtime, self.engines[0].cores - 1
        return r.stack_bytes + workers * r.worker_stack_bytes + r.state_bytes if r.stack_level else 0

    def data_bytes(self, level: str) -> int:
        """Bytes of a level that are for data which lives for good: all, less what is kept for the program."""
        kept = self.placement.program_bytes if level == self.placement.program else 0
        kept += self.runtime.code_bytes if level == self.runtime.code_level else 0
        return self.memory_by_name[level].capacity_bytes - kept

    def route(self, source: str, destination: str) -> tuple[Link, ...]:
        """The shortest chain of links between two memories (a link from a memory to itself is a copy inside it).

        Raises TargetError if there is none.
        """
        found = self._routes.get((source, destination))
        if found is None:
            found = self._routes[source, destination] = self._shortest(source, destination)
        return found

    @cached_property
    def _routes(self) -> dict[tuple[str, str], tuple[Link, ...]]:
        return {}

    def _shortest(self, source: str, destination: str) -> tuple[Link, ...]:
        direct = self.link_by_name.get(f"{source}>{destination}")
        if direct:
            return (direct,)
        frontier: list[tuple[str, tuple[Link, ...]]] = [(source, ())]
        seen = {source}
        while frontier:
            level, path = frontier.pop(0)
            if level == destination and path:
                return path
            for link in self.links:
                if link.source == level and link.destination not in seen:
                    seen.add(link.destination)
                    frontier.append((link.destination, (*path, link)))
        raise TargetError(f"target {self.name} has no link from {source} to {destination}.")


def names() -> list[str]:
    """Names of the targets that ship with edgec."""
    return sorted(p.stem for p in folder("targets").glob("*.toml"))


def target_path(name_or_path: str) -> Path:
    """The file of a shipped target, or the path itself if it names a .toml file."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = folder("targets") / f"{name_or_path}.toml"
        if not path.is_file():
            known = ", ".join(names())
            raise TargetError(f"there is no target {name_or_path!r}; known: {known}, or give a .toml file.")
    return path


def load_target(name_or_path: str) -> Target:
    """A shipped target by name, or a TOML file by path. TargetError says what is wrong with it."""
    path = target_path(name_or_path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TargetError(f"target file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TargetError(f"target file {path} is not TOML: {error}.") from None
    return _target(data, str(path))


def _target(data: dict[str, Any], where: str) -> Target:
    top = dict(data)
    memories = tuple(make(Memory, m, f"{where}: [[memory]]") for m in tables(top, "memory", where))
    links = tuple(
        make(Link, {{"from": "source", "to": "destination"}.get(k, k): v for k, v in e.items()}, f"{where}: [[link]]")
        for e in tables(top, "link", where)
    )
    engines = tuple(_engine(e, where) for e in tables(top, "engine", where))
    accelerators = tuple(
        make(Accelerator, {k: listed(v) for k, v in e.items()}, f"{where}: [[accelerator]]")
        for e in tables(top, "accelerator", where)
    )
    runtime = make(Runtime, top.pop("runtime", {}), f"{where}: [runtime]")
    levels = top.pop("placement", {})
    if isinstance(levels, dict):
        levels = {k: listed(v) for k, v in levels.items()}
    target: Target = make(
        Target,
        {
            **top,
            "placement": make(Placement, levels, f"{where}: [placement]"),
            "runtime": runtime,
            "memories": memories,
            "links": links,
            "engines": engines,
            "accelerators": accelerators,
        },
        where,
    )
    if twice := [m.name for i, m in enumerate(memories) if m.name in [n.name for n in memories[:i]]]:
        raise TargetError(f"{where} defines memory {twice[0]} twice.")
    known = set(target.memory_by_name)
    p = target.placement
    used = {target.compute, p.program, *p.weights, *p.kv, *p.large}
    used |= {level for link in links for level in (link.source, link.destination)}
    used |= {level for a in accelerators for level in a.weights}
    if missing := sorted(used - known):
        raise TargetError(f"{where} names memory {missing[0]}, which it does not define.")
    if not engines:
        raise TargetError(f"{where} defines no [[engine]].")
    if any(m.capacity_bytes <= 0 or m.bytes_per_cycle < 0 for m in memories) or any(
        e.bytes_per_cycle <= 0 or e.max_bytes <= 0 for e in links
    ):
        raise TargetError(f"{where} has a capacity, rate or limit that is not positive.")
    for what, level in (("stacks", runtime.stack_level), ("code", runtime.code_level)):
        if level and level not in known:
            raise TargetError(f"{where} puts {what} into {level}, a memory that it does not define.")
    if runtime.float_abi not in FLOAT_ABIS:
        raise TargetError(f"{where}: float_abi is one of {', '.join(FLOAT_ABIS)}, not {runtime.float_abi!r}.")
    if runtime.float_abi == "zfinx" and not runtime.hal:
        raise TargetError(f"{where}: float_abi zfinx is of a chip with a HAL; the generic RV32 program has f or soft.")
    if runtime.hal and not (folder("templates") / runtime.hal).is_dir():
        raise TargetError(f"{where} names the HAL {runtime.hal!r}, which edgec does not have.")
    if unknown := [a.kind for a in accelerators if a.kind not in ACCELERATORS]:
        raise TargetError(f"{where} has an accelerator of kind {unknown[0]!r}; known: {', '.join(ACCELERATORS)}.")
    if any(e.cores < 1 for e in engines):
        raise TargetError(f"{where} has an engine with no cores.")
    return target


def _engine(table: dict[str, Any], where: str) -> Engine:
    place = f"{where}: [[engine.measured]]"
    rows = [{k: listed(v) for k, v in row.items()} for row in tables(table, "measured", f"{where}: [[engine]]")]
    made: Engine = make(
        Engine, table | {"measured": tuple(make(KernelCost, r, place) for r in rows)}, f"{where}: [[engine]]"
    )
    return made
