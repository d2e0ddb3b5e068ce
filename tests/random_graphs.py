"""Random graphs of real ops: branches, long and short lives, matrices streamed from far."""

from __future__ import annotations

import random

from edgec.ir.graph import Attr, Graph, Node, TensorType, Value
from edgec.ops import find


def random_graph(seed: int, nodes: int = 40) -> Graph:
    """A program of about `nodes` nodes on up to 8 rows, each reading values that random earlier ones wrote."""
    rng = random.Random(seed)
    rows = rng.choice([1, 2, 8])
    graph = Graph("decode", rows)
    widths = [32 * rng.randint(1, 12) for _ in range(3)]
    live: list[str] = []

    def const(name: str, kind: TensorType) -> str:
        graph.values[name] = Value(name, kind, "const", name.rpartition(".")[0])
        return name

    def add(op: str, inputs: dict[str, str], attrs: dict[str, Attr]) -> dict[str, str]:
        name = f"n{len(graph.nodes)}"
        types = find(op).infer({role: graph.type_of(v) for role, v in inputs.items()}, attrs)
        outputs = {role: name if i == 0 else f"{name}.{role}" for i, role in enumerate(types)}
        for role, value in outputs.items():
            graph.values[value] = Value(value, types[role], "activation", name)
        graph.nodes.append(Node(name, op, inputs, outputs, attrs, name))
        return outputs

    def matmul(x: str, width: int) -> str:
        k = graph.type_of(x).shape[1]
        q = add("quantize_dynamic", {"x": x}, {"group_size": 32})
        path = f"m{len(graph.nodes)}"
        w = const(f"{path}.weight", TensorType((width, k // 2), "u8"))
        scale = const(f"{path}.weight.scale", TensorType((width, k // 32), "f16"))
        inputs = {"x": q["q"], "x_scale": q["scale"], "x_sums": q["sums"], "w": w, "w_scale": scale}
        return add("matmul_w4a8", inputs, {"k": k, "group_size": 32})["y"]

    table = const("table.weight", TensorType((64, widths[0] // 2), "u8"))
    scales = const("table.weight.scale", TensorType((64, widths[0] // 32), "f16"))
    graph.values["tokens"] = Value("tokens", TensorType((rows,), "i32"), "input")
    first = {"tokens": "tokens", "w": table, "w_scale": scales}
    live.append(add("embed", first, {"bits": 4, "group_size": 32, "k": widths[0]})["y"])
    while len(graph.nodes) < nodes:
        x = rng.choice(live)
        same = [v for v in live if graph.type_of(v) == graph.type_of(x)]
        pick = rng.random()
        if pick < 0.4:
            made = matmul(x, rng.choice(widths))
        elif pick < 0.6:
            gain = const(f"g{len(graph.nodes)}.weight", TensorType(graph.type_of(x).shape[1:], "f32"))
            made = add("rmsnorm", {"x": x, "gain": gain}, {"eps": 1e-5})["y"]
        elif pick < 0.8:
            made = add("add", {"a": x, "b": rng.choice(same)}, {})["y"]
        else:
            made = add("silu_mul", {"gate": x, "up": rng.choice(same)}, {})["y"]
        live = [*live[-5:], made] if rng.random() < 0.8 else [*live[:4], made]
    graph.outputs = [live[-1]]
    return graph
