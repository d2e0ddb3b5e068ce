"""Builder: adds nodes and values to a graph of a quantised model, whatever its family.

A matrix with a low-rank branch is two matmuls more and an add: y = W x + B (A x); one that is a product is two matmuls.
Tensors that blocks share are one constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edgec.compress.quantized import QuantizedModel, QuantizedTensor
from edgec.frontend.structure import factor_names
from edgec.ir.graph import Attr, Graph, Node, TensorType, Value
from edgec.ops import find

Array = NDArray[Any]
NUMPY_TO_DTYPE = {"float32": "f32", "float16": "f16", "int8": "i8", "uint8": "u8", "int16": "i16", "int32": "i32"}
SIDES = (
    ".scale",
    ".zero",
    ".minimum",
    ".places",
    ".tail",
    ".fold",
)  # what lies beside a packed matrix, by the matrix's name


@dataclass
class Builder:
    """Adds nodes and values to a graph of a model."""

    graph: Graph
    model: QuantizedModel
    consts: dict[str, Array]

    def const(self, name: str) -> str:
        """A constant, declared when it is first read; what stands for another is that one."""
        name = self.model.shared.get(name, name)
        if name not in self.graph.values:
            array = self.consts[name]
            kind = TensorType(array.shape, NUMPY_TO_DTYPE[array.dtype.name])
            source = name.rsplit(".", 2)[0] if name.endswith(SIDES) else name.rpartition(".")[0]
            self.graph.values[name] = Value(name, kind, "const", source)
        return name

    def state(self, name: str, kind: TensorType, source: str) -> str:
        """A state of this type."""
        self.graph.values[name] = Value(name, kind, "state", source)
        return name

    def add(self, op: str, name: str, inputs: dict[str, str], attrs: dict[str, Attr], source: str) -> dict[str, str]:
        """Append a node; its outputs are named after it, the main one (first) without a suffix."""
        types = find(op).infer(self.graph.types_of(inputs), attrs)
        outputs = {role: name if i == 0 else f"{name}.{role}" for i, role in enumerate(types)}
        for role, value in outputs.items():
            self.graph.values[value] = Value(value, types[role], "activation", source)
        self.graph.nodes.append(Node(name, op, inputs, outputs, attrs, source))
        return outputs

    def known(self, name: str) -> bool:
        """Whether the model has this constant, be it another one's."""
        return self.model.shared.get(name, name) in self.consts

    def matrix(self, weight: str) -> QuantizedTensor:
        """The packed matrix that is applied as `weight`; of a product the factor that inputs meet first."""
        first = self.model.structure.parts(weight)[0]
        return self.model.matrices[self.model.shared.get(first, first)]

    def packed(self, weight: str, matrix: QuantizedTensor) -> dict[str, str]:
        """A matrix's constants by role."""
        inputs = {"w": self.const(weight), "w_scale": self.const(f"{weight}.scale")}
        if matrix.zero is not None:
            inputs["w_zero"] = self.const(f"{weight}.zero")
        if matrix.minimum is not None:
            inputs["w_min"] = self.const(f"{weight}.minimum")
        if matrix.places is not None:
            inputs["w_pos"] = self.const(f"{weight}.places")
        if matrix.tail is not None:
            inputs["w_tail"] = self.const(f"{weight}.tail")
        if matrix.fold is not None:
            inputs["w_fold"] = self.const(f"{weight}.fold")
        return inputs

    def looked_up(self, name: str) -> str:
        """The tokens' rows of the embedding table, in whatever form it is."""
        source = "model.embed_tokens"
        matrix = self.model.matrices[f"{source}.weight"]
        inputs = {"tokens": "tokens", **self.packed(f"{source}.weight", matrix)}
        attrs: dict[str, Attr] = {"k": matrix.k, "bits": matrix.bits, "group_size": matrix.group_size}
        if self.model.config.embed_scale != 1:
            attrs["factor"] = self.model.config.embed_scale
        return self.add(f"embed_{matrix.layout}" if matrix.layout else "embed", name, inputs, attrs, source)["y"]

    def quantize(self, x: str, consumers: list[str], source: str) -> dict[int, dict[str, str]]:
        """x quantised in the groups of the matrices that will read it, by group size."""
        return self.quantize_in(x, [self.matrix(name).group_size for name in consumers], source)

    def quantize_in(self, x: str, sizes: list[int], source: str) -> dict[int, dict[str, str]]:
        """x quantised in groups of these sizes, by size."""
        by_size: dict[int, dict[str, str]] = {}
        for size in dict.fromkeys(sizes):
            q = self.add("quantize_dynamic", f"{x}.q8g{size}", {"x": x}, {"group_size": size}, source)
            by_size[size] = {"x": q["q"], "x_scale": q["scale"], "x_sums": q["sums"]}
        return by_size

    def matmul(self, quantized: dict[int, dict[str, str]], name: str, source: str) -> str:
        """x W^T + bias of the matrix `source`.weight."""
        weight = f"{source}.weight"
        if weight in self.model.factors:
            return self.product(quantized, name, source)
        return self.single(quantized, name, source, source)

    def product(self, quantized: dict[int, dict[str, str]], name: str, source: str) -> str:
        """(x A^T) B^T + bias; what A gives is quantised for B."""
        a, b = (part.removesuffix(".weight") for part in factor_names(f"{source}.weight"))
        low = self.single(quantized, f"{name}.factor_a", a, a)
        return self.single(self.quantize(low, [f"{b}.weight"], a), name, b, source)

    def single(self, quantized: dict[int, dict[str, str]], name: str, path: str, source: str) -> str:
        """x by the stored matrix `path`.weight, with the bias of `source`."""
        weight = f"{path}.weight"
        matrix = self.matrix(weight)
        weight = self.model.shared.get(weight, weight)
        inputs = quantized[matrix.group_size] | self.packed(weight, matrix)
        if self.known(f"{source}.bias"):
            inputs["bias"] = self.const(f"{source}.bias")
        attrs: dict[str, Attr] = {"k": matrix.k, "group_size": matrix.group_size}
        op = f"matmul_w{matrix.bits}a8"
        if matrix.pattern is not None:
            op, attrs["removed"], attrs["of"] = f"{op}_nm", *matrix.pattern
        if matrix.layout:
            op = f"{op}_{matrix.layout}"
        if matrix.pattern is not None or matrix.layout:
            del inputs["x_sums"]
        y = self.add(op, name, inputs, attrs, path)["y"]
        return self.branch(y, quantized, name, weight) if weight in self.model.branches else y

    def branch(self, y: str, quantized: dict[int, dict[str, str]], name: str, weight: str) -> str:
        """y + B (A x), where A reads x as its matrix does and A's outputs are quantised for B."""
        a, b = self.model.branches[weight]
        source = weight.removesuffix(".weight")
        low = self.branch_matmul(quantized, a, f"{name}.lora_a", f"{source}.lora_a")
        rounded = self.quantize_in(low, [b.group_size], f"{source}.lora_a")
        high = self.branch_matmul(rounded, b, f"{name}.lora_b", f"{source}.lora_b")
        return self.add("add", f"{name}.lora_add", {"a": y, "b": high}, {}, source)["y"]

    def branch_matmul(
        self, quantized: dict[int, dict[str, str]], matrix: QuantizedTensor, name: str, source: str
    ) -> str:
        """x by one side of a branch."""
        inputs = quantized[matrix.group_size] | {"w": self.const(f"{source}.weight")}
        inputs["w_scale"] = self.const(f"{source}.weight.scale")
        attrs: dict[str, Attr] = {"k": matrix.k, "group_size": matrix.group_size}
        return self.add(f"matmul_w{matrix.bits}a8", name, inputs, attrs, source)["y"]

    def norm(self, x: str, name: str, source: str) -> str:
        """The root-mean-square norm of a module."""
        eps = self.model.config.norm_eps
        if self.known(f"{source}.bias"):
            inputs = {"x": x, "gain": self.const(f"{source}.weight"), "bias": self.const(f"{source}.bias")}
            return self.add("layernorm", name, inputs, {"eps": eps}, source)["y"]
        return self.add("rmsnorm", name, {"x": x, "gain": self.const(f"{source}.weight")}, {"eps": eps}, source)["y"]
