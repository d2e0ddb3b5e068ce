"""Tables of a TOML file as dataclasses, strictly: an unknown, missing or wrongly typed key is a sentence."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from edgec.errors import TargetError


def make(kind: Any, table: Any, where: str) -> Any:
    """A dataclass from a table of its fields. Raises TargetError, which names `where`."""
    if not isinstance(table, dict):
        raise TargetError(f"{where} must be a table.")
    known = {f.name: f for f in fields(kind)}
    for key, value in table.items():
        if key not in known:
            raise TargetError(f"{where} has an unknown key {key!r}; known: {', '.join(known)}.")
        if not _is_of(value, str(known[key].type)):
            raise TargetError(f"{where}: {key} must be of type {known[key].type}, not {value!r}.")
    try:
        return kind(**table)
    except TypeError:
        missing = [k for k, f in known.items() if k not in table]
        raise TargetError(f"{where} lacks the key {missing[0]!r}.") from None


def listed(value: Any) -> Any:
    """A TOML array as the tuple that a frozen dataclass holds; anything else as it is."""
    return tuple(value) if isinstance(value, list) else value


def _is_of(value: Any, kind: str) -> bool:
    """Whether a TOML value is of a field's type; types of edgec's own are checked where they are made."""
    if kind == "tuple[str, ...]":
        return isinstance(value, tuple) and len(value) > 0 and all(isinstance(v, str) for v in value)
    plain: dict[str, Any] = {"int": int, "int | None": int, "float": (int, float), "str": str, "bool": bool}
    wanted = plain.get(kind, object)
    return isinstance(value, wanted) and (kind == "bool" or not isinstance(value, bool) or wanted is object)


def tables(top: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    """The tables [[key]]."""
    tables = top.pop(key, [])
    if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise TargetError(f"{where}: {key} must be tables, written [[{key}]].")
    return tables
