"""Recipe: how to compress and build, as TOML or flags, as frozen dataclasses.

[build]
context = 256          # positions of the KV cache
chunk = 16             # tokens of one prefill run

[quantize]
method = "rtn"
bits = 4               # 2 ... 8
group_size = 64        # inputs that share a scale; 0 = all of a row

[quantize.roles.head]  # overrides for q, k, v, o, gate, up, down, embed, head
bits = 8
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from edgec.errors import RecipeError

ROLES = ("q", "k", "v", "o", "gate", "up", "down", "embed", "head")
METHODS = ("rtn",)


@dataclass(frozen=True)
class RoleOverride:
    """Width and group of one role; None keeps the recipe's."""

    bits: int | None = None
    group_size: int | None = None


@dataclass(frozen=True)
class Quantize:
    """Weight quantisation: method, width in bits, inputs that share a scale (0: the whole row), overrides by role."""

    method: str = "rtn"
    bits: int = 4
    group_size: int = 64
    roles: dict[str, RoleOverride] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise RecipeError(f"quantize.method {self.method!r} is unknown; known: {', '.join(METHODS)}.")
        for where, bits, group in [("quantize", self.bits, self.group_size)] + [
            (f"quantize.roles.{role}", o.bits, o.group_size) for role, o in self.roles.items()
        ]:
            if bits is not None and not 2 <= bits <= 8:
                raise RecipeError(f"{where}.bits is {bits}; weights have 2 to 8 bits.")
            if group is not None and group != 0 and not 8 <= group <= 65536:
                raise RecipeError(f"{where}.group_size is {group}; it is 0 (the whole row) or 8 to 65,536.")
        for role in self.roles:
            if role not in ROLES:
                raise RecipeError(f"quantize.roles has no role {role!r}; known: {', '.join(ROLES)}.")

    def for_roles(self, roles: list[str]) -> tuple[int, int]:
        """Width and group of a matrix that plays these roles; the first override given wins."""
        bits, group_size = None, None
        for role in roles:
            override = self.roles.get(role, RoleOverride())
            bits = override.bits if bits is None else bits
            group_size = override.group_size if group_size is None else group_size
        return self.bits if bits is None else bits, self.group_size if group_size is None else group_size


@dataclass(frozen=True)
class Build:
    """Sizes of the emitted program: cache positions (None: as many as the model was made for, at most 512)
    and the tokens of one prefill run (None: the most that fits, up to 16)."""

    context: int | None = None
    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.context is not None and not 1 <= self.context <= 65536:
            raise RecipeError(f"build.context is {self.context}; it is 1 to 65,536 positions.")
        if self.chunk is not None and not 1 <= self.chunk <= 1024:
            raise RecipeError(f"build.chunk is {self.chunk}; it is 1 to 1,024 tokens.")


@dataclass(frozen=True)
class Recipe:
    """Everything that a build depends on besides the model and the target."""

    quantize: Quantize = field(default_factory=Quantize)
    build: Build = field(default_factory=Build)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, for the report."""
        return asdict(self)


def load_recipe(path: str | Path) -> Recipe:
    """Read a TOML recipe. Raises RecipeError for a missing file, bad TOML, an unknown key or an impossible value."""
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"recipe {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path} is not TOML: {error}.") from None
    known = {"quantize": Quantize, "build": Build}
    parts: dict[str, Any] = {}
    for key, table in data.items():
        if key not in known or not isinstance(table, dict):
            raise RecipeError(f"recipe {path} has an unknown table [{key}]; known: [build], [quantize].")
        if key == "quantize" and isinstance(table.get("roles"), dict):
            roles = {r: _make(RoleOverride, t, f"quantize.roles.{r}", path) for r, t in table["roles"].items()}
            table = table | {"roles": roles}
        parts[key] = _make(known[key], table, key, path)
    return Recipe(**parts)


def _make(kind: Any, table: Any, where: str, path: str | Path) -> Any:
    if not isinstance(table, dict):
        raise RecipeError(f"recipe {path}: {where} must be a table.")
    types = {f.name: f.type for f in fields(kind)}
    for key, value in table.items():
        if key not in types:
            raise RecipeError(f"recipe {path} has an unknown key {where}.{key}; known: {', '.join(types)}.")
        want: Any = str if "str" in str(types[key]) and key != "roles" else dict if key == "roles" else int
        if not isinstance(value, want) or isinstance(value, bool):
            raise RecipeError(f"recipe {path}: {where}.{key} must be of type {want.__name__}, not {value!r}.")
    return kind(**table)


def with_flags(
    recipe: Recipe, bits: int | None, group_size: int | None, context: int | None, chunk: int | None
) -> Recipe:
    """The recipe with command-line flags on top."""
    q, b = recipe.quantize, recipe.build
    return replace(
        recipe,
        quantize=replace(
            q,
            bits=q.bits if bits is None else bits,
            group_size=q.group_size if group_size is None else group_size,
        ),
        build=replace(
            b,
            context=b.context if context is None else context,
            chunk=b.chunk if chunk is None else chunk,
        ),
    )
