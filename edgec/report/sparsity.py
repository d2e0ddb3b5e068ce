"""How pruned matrices are stored: bits per weight packed and dense, and no saving claimed where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgec.frontend.structure import role_of
from edgec.report.layers import ROLES


def sparsity_rows(
    storage: Mapping[str, Mapping[str, Any]], encoded: Mapping[tuple[str, ...], int] | None = None
) -> list[dict[str, Any]]:
    """The matrices of a build.json, those of one pattern, form and reason together. Bits are means by weight.

    encoded: bytes of those that have an accelerator's form instead, by the names of the tensors in them.
    """
    stored = {name: size * _share(name, names, storage) for names, size in (encoded or {}).items() for name in names}
    rows: dict[tuple[str, bool, str], dict[str, Any]] = {}
    for name, s in storage.items():
        packed, (removed, of) = bool(s["packed"]), s["pattern"]
        unstructured = of > 16
        pattern = f"{removed / of:.0%} unstructured" if unstructured else f"{removed}:{of}"
        now, other = (s["packed_bits"], s["dense_bits"]) if packed else (s["dense_bits"], s["packed_bits"])
        reason = "the accelerator reads dense matrices" if name in stored else s["reason"]
        row = rows.setdefault(
            (pattern, packed, reason),
            {"pattern": pattern, "packed": packed, "reason": reason, "matrices": 0, "bytes": 0, "roles": set()}
            | {"weights": 0.0, "other": None},
        )
        weights = 8 * s["bytes"] / now
        row["matrices"] += 1
        row["bytes"] += round(stored.get(name, s["bytes"]))
        row["weights"] += weights
        row["roles"].add(role_of(name))
        if other is not None:
            row["other"] = (row["other"] or 0.0) + other * weights
    return [
        {key: row[key] for key in ("pattern", "packed", "reason", "matrices", "bytes")}
        | {
            "roles": [role for role in ROLES if role in row["roles"]],
            "bits_per_weight": round(8 * row["bytes"] / row["weights"], 4),
            "other_bits_per_weight": None if row["other"] is None else round(row["other"] / row["weights"], 4),
        }
        for row in rows.values()
    ]


def _share(name: str, names: tuple[str, ...], storage: Mapping[str, Mapping[str, Any]]) -> float:
    """Of a joint matrix, the part that is this tensor: all of one width and as many inputs."""
    bytes_of = [storage[n]["bytes"] if n in storage else 0 for n in names]
    return storage[name]["bytes"] / sum(bytes_of) if name in storage and all(bytes_of) else 1 / len(names)


def sparsity_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each row."""
    lines = []
    for row in rows:
        what = f"{row['pattern']} zeros in {row['matrices']} matrices ({', '.join(row['roles'])})"
        now, other = row["bits_per_weight"], row["other_bits_per_weight"]
        if row["packed"]:
            lines.append(f"{what}: packed, {now:.2f} bits per weight with places and scales, dense {other:.2f}")
        else:
            would = "" if other is None else f" ({other:.2f} bits per weight)"
            lines.append(f"{what}: stored dense at {now:.2f} bits per weight, nothing saved: {row['reason']}{would}")
    return lines
