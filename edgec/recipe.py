"""Recipe: how to compress and build, as TOML or flags, as frozen dataclasses.

seed = 0               # of everything random in the stages

[calibration]
file = "text.jsonl"    # what stages measure and train on; --calibration replaces it
samples = 64
length = 512           # tokens of a sample

[[stage]]              # compression, in this order; the other keys are the method's options
method = "depth"
blocks = 2

[build]
context = 256          # positions of the KV cache
chunk = 16             # tokens of one prefill run
kv = "int8"            # or "int4": precision of the KV cache
sparse = "auto"        # pruned matrices are stored packed where that is smaller; "never": all dense
branch_bits = 8        # width of low-rank branches (compress/eora.py, compress/lora.py), 2 ... 8

[quantize]
method = "rtn"
bits = 4               # 2 ... 8; without it 4, and 8 for embedding and head beside matrices that arrive quantised
group_size = 64        # inputs that share a scale; 0 = all of a row
keep = true            # matrices that arrive quantised, from a file or a stage, are not rounded again

[quantize.roles.head]  # overrides for q, k, v, o, gate, up, down, embed, head
bits = 8
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from edgec.compress.stage import Calibration, find
from edgec.errors import RecipeError

ROLES = ("q", "k", "v", "o", "gate", "up", "down", "embed", "head")
METHODS = ("rtn",)
KV_BITS = {"int8": 8, "int4": 4}


@dataclass(frozen=True)
class RoleOverride:
    """Width and group of one role; None keeps the recipe's."""

    bits: int | None = None
    group_size: int | None = None


@dataclass(frozen=True)
class Quantize:
    """Weight quantisation: method, width in bits, inputs that share a scale (0: the whole row), overrides by role.

    bits None: 4, but 8 for an embedding or head that is left to round beside matrices that arrive quantised.
    """

    method: str = "rtn"
    bits: int | None = None
    group_size: int = 64
    roles: dict[str, RoleOverride] = field(default_factory=dict)
    keep: bool = True  # matrices that arrive quantised stay as they are

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

    def for_roles(self, roles: list[str], beside_packed: bool = False) -> tuple[int, int]:
        """Width and group of a matrix that plays these roles; the first override given wins."""
        bits, group_size = None, None
        for role in roles:
            override = self.roles.get(role, RoleOverride())
            bits = override.bits if bits is None else bits
            group_size = override.group_size if group_size is None else group_size
        if bits is None:
            wide = beside_packed and not {"embed", "head"}.isdisjoint(roles)
            bits = (8 if wide else 4) if self.bits is None else self.bits
        return bits, self.group_size if group_size is None else group_size


@dataclass(frozen=True)
class Build:
    """The emitted program: cache positions (None: as many as the model was made for, at most 512), the tokens of one
    prefill run (None: the most that fits, up to 16), the width of low-rank branches in bits, and whether pruned
    matrices are stored packed where that is smaller ("auto" or "never"), the cache's precision ("int8" or "int4")."""

    context: int | None = None
    chunk: int | None = None
    branch_bits: int = 8
    sparse: str = "auto"
    kv: str = "int8"

    def __post_init__(self) -> None:
        if self.context is not None and not 1 <= self.context <= 65536:
            raise RecipeError(f"build.context is {self.context}; it is 1 to 65,536 positions.")
        if self.chunk is not None and not 1 <= self.chunk <= 1024:
            raise RecipeError(f"build.chunk is {self.chunk}; it is 1 to 1,024 tokens.")
        if self.sparse not in ("auto", "never"):
            raise RecipeError(f"build.sparse is {self.sparse!r}; it is auto or never.")
        if self.kv not in KV_BITS:
            raise RecipeError(f"build.kv is {self.kv!r}; it is {' or '.join(KV_BITS)}.")
        if not 2 <= self.branch_bits <= 8:
            raise RecipeError(f"build.branch_bits is {self.branch_bits}; weights have 2 to 8 bits.")


@dataclass(frozen=True)
class Recipe:
    """Everything that a build depends on besides the model and the target."""

    quantize: Quantize = field(default_factory=Quantize)
    build: Build = field(default_factory=Build)
    stages: tuple[Any, ...] = ()  # see compress/stage.py
    calibration: Calibration = field(default_factory=Calibration)
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, for the report; no folders, so that the same recipe gives the same bytes anywhere."""
        made = asdict(self)
        made["stages"] = [stage_options(stage) for stage in self.stages]
        made["calibration"]["file"] = Path(self.calibration.file).name
        return made


def stage_options(stage: Any) -> dict[str, Any]:
    """A stage as its recipe table: method first, then every option; of a file its name."""
    options = asdict(stage)
    return {"method": stage.method, **options} | ({"file": Path(options["file"]).name} if "file" in options else {})


def load_recipe(path: str | Path) -> Recipe:
    """Read a TOML recipe. Raises RecipeError for a missing file, bad TOML, an unknown key or an impossible value."""
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"recipe {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path} is not TOML: {error}.") from None
    known = {"quantize": Quantize, "build": Build, "calibration": Calibration}
    parts: dict[str, Any] = {}
    for key, value in data.items():
        if key == "seed":
            parts[key] = _typed(value, int, key, path)
        elif key == "stage" and isinstance(value, list):
            parts["stages"] = tuple(_stage(table, f"stage {i}", path) for i, table in enumerate(value, 1))
        elif key in known and isinstance(value, dict):
            table = value
            if key == "quantize" and isinstance(table.get("roles"), dict):
                roles = {r: _make(RoleOverride, t, f"quantize.roles.{r}", path) for r, t in table["roles"].items()}
                table = table | {"roles": roles}
            parts[key] = _make(known[key], table, key, path)
        else:
            tables = ", ".join(f"[{name}]" for name in known)
            raise RecipeError(f"recipe {path} has an unknown table [{key}]; known: seed, {tables}, [[stage]].")
    made = Recipe(**parts)
    stages = tuple(_found(stage, path) if hasattr(stage, "file") else stage for stage in made.stages)
    return replace(made, calibration=_found(made.calibration, path), stages=stages)


def _found(table: Any, path: str | Path) -> Any:
    """A table with the file that it names, which stands beside the recipe if it is not absolute."""
    beside = Path(path).parent / table.file
    return replace(table, file=str(beside)) if table.file and beside.is_file() else table


def _stage(table: Any, where: str, path: str | Path) -> Any:
    if not isinstance(table, dict) or not isinstance(table.get("method"), str):
        raise RecipeError(f"recipe {path}: {where} must be a table with a method.")
    options = {key: value for key, value in table.items() if key != "method"}
    return _make(find(table["method"]), options, f"{where} ({table['method']})", path)


def _make(kind: Any, table: Any, where: str, path: str | Path) -> Any:
    if not isinstance(table, dict):
        raise RecipeError(f"recipe {path}: {where} must be a table.")
    hints = get_type_hints(kind)
    types = {f.name: hints[f.name] for f in fields(kind)}
    for key in table:
        if key not in types:
            raise RecipeError(f"recipe {path} has an unknown key {where}.{key}; known: {', '.join(types)}.")
    return kind(**{key: _typed(value, types[key], f"{where}.{key}", path) for key, value in table.items()})


def _typed(value: Any, kind: Any, where: str, path: str | Path) -> Any:
    """A TOML value as a field of this type: int, float, bool, str, dict, a tuple of one of them, or optional."""
    origin, wanted = get_origin(kind), get_args(kind)
    if origin is UnionType:
        kind = next(option for option in wanted if option is not NoneType)
        return _typed(value, kind, where, path)
    if origin is tuple and isinstance(value, list):
        return tuple(_typed(item, wanted[0], where, path) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    plain = {tuple: list}.get(origin, origin) or kind
    if not isinstance(value, plain) or (isinstance(value, bool) and plain is not bool):
        name = "list" if plain is list else plain.__name__
        raise RecipeError(f"recipe {path}: {where} must be of type {name}, not {value!r}.")
    return value


def with_flags(
    recipe: Recipe,
    bits: int | None,
    group_size: int | None,
    context: int | None,
    chunk: int | None,
    kv: str | None = None,
) -> Recipe:
    """The recipe with command-line flags on top."""
    q, b = recipe.quantize, recipe.build
    return replace(
        recipe,
        quantize=replace(
            q,
            bits=q.bits if bits is None else bits,
            group_size=q.group_size if group_size is None else group_size,
            keep=q.keep and bits is None and group_size is None,
        ),
        build=replace(
            b,
            context=b.context if context is None else context,
            chunk=b.chunk if chunk is None else chunk,
            kv=b.kv if kv is None else kv,
        ),
    )


def with_calibration(recipe: Recipe, file: str | None) -> Recipe:
    """The recipe with another calibration text, if one is given."""
    return recipe if file is None else replace(recipe, calibration=replace(recipe.calibration, file=file))
