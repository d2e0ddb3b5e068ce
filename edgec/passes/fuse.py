"""fuse: neighbouring ops become one call, with the bits of one after the other.

    gate_up_silu    gate and up on N-EUREKA, silu_mul of them, and quantize_dynamic of that
    norm_quantize   rmsnorm, and quantize_dynamic as its only reader
    silu_quantize   silu_mul, and quantize_dynamic as its only reader
    rope_append     rope of queries and of keys, the kv_append of their matrix's result, and what attention, if it alone
                    reads the queries, does to them first, to quantise them: one call has one fork
    accelerator     of a single row: attention's scores on N-EUREKA
    residual        a matmul, and the add as its only reader: the matmul adds the residual itself
    mlp             of a single row: gate and up on N-EUREKA, and down (fuse_mlp.py)

What lay between is never stored, cores wait for each other less often, and a row is shared by its groups, or by parts
of them. But a call that quantises several rows has no more parts than groups, and each normalises twice: it is fused
only where the cost model says that one call takes no longer than two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from edgec.cost.engine import call_cycles
from edgec.ir.graph import Attr, Graph, Node, TensorType, Value
from edgec.ir.verify import verify_graph
from edgec.ops import attention_neureka, find
from edgec.ops.matmul_w4a8 import bits_of
from edgec.ops.matmul_w4a8_neureka import half, split_numbers
from edgec.passes.fuse_mlp import with_mlp
from edgec.target import Target

QUANTIZED = {"norm_quantize": "rmsnorm", "silu_quantize": "silu_mul"}


def fuse(graph: Graph, target: Target, which: Callable[[str], bool] = lambda name: True) -> Graph:
    """A new graph for a target; `which` says whether to do each of the seven by name."""
    nodes = list(graph.nodes)
    added: dict[str, Value] = {}
    if which("gate_up_silu"):
        nodes = _with_silu(graph, nodes, target)
    for name, op in QUANTIZED.items():
        if which(name):
            nodes = _with_quantize(graph, nodes, op, target)
    if which("rope_append"):
        nodes = _with_rope_append(graph, nodes, added)
    if which("accelerator") and graph.rows == 1 and target.accelerator("neureka") is not None:
        nodes = [_by_engine(graph, node, target.engines[0].cores) for node in nodes]
    if which("residual"):
        nodes = _with_residual(graph, nodes)
    if which("mlp") and graph.rows == 1:
        nodes = with_mlp(graph, nodes, _readers(nodes), target)
    written = {v for node in nodes for v in node.outputs.values()}
    values = {name: v for name, v in (graph.values | added).items() if v.kind != "activation" or name in written}
    result = Graph(graph.name, graph.rows, values, nodes, list(graph.outputs))
    verify_graph(result, "fuse")
    return result


def _readers(nodes: list[Node]) -> dict[str, list[Node]]:
    found: dict[str, list[Node]] = {}
    for node in nodes:
        for value in dict.fromkeys(node.inputs.values()):
            found.setdefault(value, []).append(node)
    return found


def _pays(graph: Graph, node: Node, quantize: Node, target: Target) -> bool:
    """Whether one call takes no longer than two, with all rows."""
    rows, k = graph.type_of(quantize.inputs["x"]).shape
    numbers = {"rows": rows, "k": k, "group_size": int(quantize.attrs["group_size"])}
    separate = call_cycles(target, node.op, numbers) + call_cycles(target, quantize.op, numbers)
    return call_cycles(target, f"{node.op}_quantize", numbers) <= separate


def _with_quantize(graph: Graph, nodes: list[Node], op: str, target: Target) -> list[Node]:
    """Each op of this name together with the one quantize_dynamic that reads it, in the place of the latter."""
    readers = _readers(nodes)
    fused: dict[str, Node] = {}  # by the name of the quantize_dynamic
    gone = set()
    for node in nodes:
        if node.op != op or node.outputs["y"] in graph.outputs:
            continue
        only = readers.get(node.outputs["y"], [])
        whole = op != "rmsnorm" or graph.type_of(node.inputs["gain"]).shape == graph.type_of(node.inputs["x"]).shape[1:]
        alone = len(only) == 1 and only[0].op == "quantize_dynamic"
        if op == "silu_mul":  # its gate is used up
            alone = alone and all(len(readers[v]) == 1 and v not in graph.outputs for v in node.inputs.values())
        if alone and whole and _pays(graph, node, only[0], target):
            attrs = {**node.attrs, **only[0].attrs}
            fused[only[0].name] = Node(only[0].name, f"{op}_quantize", node.inputs, only[0].outputs, attrs, node.source)
            gone.add(node.name)
    return [fused.get(node.name, node) for node in nodes if node.name not in gone]


def _with_rope_append(graph: Graph, nodes: list[Node], added: dict[str, Value]) -> list[Node]:
    """Each kv_append of values out of joined columns with the two rope that read the others, in its own place.

    added: takes the values of quantised queries.
    """
    writer = {v: node for node in nodes for v in node.outputs.values()}
    readers = _readers(nodes)
    fused: dict[str, Node] = {}
    gone = set()
    for node in nodes:
        if node.op != "kv_append" or "v_first" not in node.attrs:
            continue
        x, keys = node.inputs["v"], writer.get(node.inputs["k"])
        ropes = [n for n in readers[x] if n.op == "rope"]
        queries = next((n for n in ropes if n is not keys), None)
        if keys not in ropes or queries is None or len(readers[x]) != 3 or x in graph.outputs:
            continue
        if readers[keys.outputs["y"]] != [node] or keys.outputs["y"] in graph.outputs:
            continue
        y, d = queries.outputs["y"], int(keys.attrs["head_dim"])
        attends = readers.get(y, [])
        if y in graph.outputs or [n.op for n in attends] not in (["attention"], ["attention_i4"]):
            continue
        ends = [int(n.attrs["first"]) + int(n.attrs["width"]) for n in (queries, keys)]
        begins = [int(n.attrs["first"]) for n in (queries, keys)]
        alike = all(queries.attrs[key] == keys.attrs[key] for key in ("head_dim", "unit"))
        alike = alike and queries.inputs["table"] == keys.inputs["table"] and attends[0].attrs["head_dim"] == d
        columns = ends[1] + int(keys.attrs["width"])
        if [*begins, int(node.attrs["v_first"])] != [0, *ends] or columns != graph.type_of(x).shape[1] or not alike:
            continue
        inputs = {"x": x, "table": keys.inputs["table"]} | {r: v for r, v in node.inputs.items() if r not in "kv"}
        attrs: dict[str, Attr] = {
            "n_heads": int(queries.attrs["width"]) // d,
            "n_kv_heads": int(keys.attrs["width"]) // d,
        }
        attrs |= {"head_dim": d, "unit": float(keys.attrs["unit"])}
        q = {"q": f"{y}.q8g{d}", "q_scale": f"{y}.q8g{d}.scale"}
        rows, width = graph.type_of(y).shape
        types = {"q": TensorType((rows, width), "i8"), "q_scale": TensorType((rows, width // d), "f32")}
        added |= {name: Value(name, types[role], "activation", queries.source) for role, name in q.items()}
        fused[node.name] = Node(node.name, "rope_append", inputs, {**q, **node.outputs}, attrs, node.source)
        attend = attends[0]
        fused[attend.name] = replace(attend, inputs={**attend.inputs, **q})
        gone |= {queries.name, keys.name}
    return [fused.get(node.name, node) for node in nodes if node.name not in gone]


def _by_engine(graph: Graph, node: Node, cores: int) -> Node:
    """attention of one quantised row (the graph's), with scores of the accelerator if some position has them."""
    if node.op != "attention" or "q_scale" not in node.inputs or node.attrs.get("softcap") or node.attrs.get("window"):
        return node
    heads, kv, d = (int(node.attrs[key]) for key in ("n_heads", "n_kv_heads", "head_dim"))
    last = graph.type_of(node.inputs["k_cache"]).shape[0] - 1
    suits = attention_neureka.suits(heads, kv, d, cores)
    pays = suits and attention_neureka.form(heads, kv, d, last, cores) == "engine"
    return replace(node, op="attention_neureka") if pays else node


def _with_silu(graph: Graph, nodes: list[Node], target: Target) -> list[Node]:
    """Each quantize_dynamic that alone reads a silu_mul of the accelerator's gate and up, together with both."""
    writer = {v: node for node in nodes for v in node.outputs.values()}
    readers = _readers(nodes)
    fused: dict[str, Node] = {}
    gone = set()
    for node in nodes:
        silu = writer.get(node.inputs["x"]) if node.op == "quantize_dynamic" else None
        made = writer.get(silu.inputs.get("gate_up", "")) if silu is not None and silu.op == "silu_mul" else None
        if silu is None or made is None or find(made.op).module != "matmul_w4a8_neureka" or "addend" in made.inputs:
            continue
        between = (made.outputs["y"], silu.outputs["y"])
        if any(len(readers[y]) > 1 or y in graph.outputs for y in between):
            continue
        op = made.op.replace("_neureka", "_silu_neureka")
        attrs = {**made.attrs, "out_group": node.attrs["group_size"]}
        rows, n = graph.type_of(between[0]).shape
        sizes = {"m": rows, "n": n} | split_numbers(graph.types_of(made.inputs), made.attrs, bits_of(made.op))
        both = _ints({**made.attrs, **sizes, "tile": half(n), "first": half(n)})
        after = {"rows": rows, "k": n // 2, "ldx": n, "group_size": int(node.attrs["group_size"])}
        apart = call_cycles(target, silu.op, after) + call_cycles(target, node.op, after)
        separate = call_cycles(target, made.op, both) + min(apart, call_cycles(target, "silu_mul_quantize", after))
        together = _ints({**attrs, **sizes, "tile": half(n // 2), "first": half(n // 2)})
        if call_cycles(target, op, together) <= separate:
            fused[node.name] = Node(node.name, op, made.inputs, node.outputs, attrs, made.source)
            gone |= {made.name, silu.name}
    return [fused.get(node.name, node) for node in nodes if node.name not in gone]


def _ints(numbers: Mapping[str, Attr | int]) -> dict[str, int]:
    return {name: int(value) for name, value in numbers.items()}


def _with_residual(graph: Graph, nodes: list[Node]) -> list[Node]:
    """Each matmul together with the one add that reads it; the matmul takes the add's place and its result's name."""
    writer = {v: node for node in nodes for v in node.outputs.values()}
    readers = _readers(nodes)
    result = list(nodes)
    for node in nodes:
        if node.op != "add":
            continue
        for role, other in (("b", "a"), ("a", "b")):
            made = writer.get(node.inputs[role])
            alone = made is not None and [n.name for n in readers[node.inputs[role]]] == [node.name]
            if made is None or not alone or not made.op.startswith("matmul_") or "addend" in made.inputs:
                continue
            if made.outputs["y"] in graph.outputs or node.inputs[other] == node.inputs[role]:
                continue
            inputs = {**made.inputs, "addend": node.inputs[other]}
            fused = replace(made, inputs=inputs, outputs={"y": node.outputs["y"]})
            names = [n.name for n in result]
            result[names.index(node.name)] = fused
            del result[names.index(made.name)]
            break
    return result
