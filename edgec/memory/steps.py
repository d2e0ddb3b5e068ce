"""The steps of one program: homes for its activations, a tiling for each node beside what is alive then."""

from __future__ import annotations

from collections.abc import Mapping

from edgec.ir.graph import Graph, Node
from edgec.memory.activations import place_activations
from edgec.memory.choices import ALL, Choices
from edgec.memory.homes import rows_in_place
from edgec.memory.placement import blocks
from edgec.memory.plan import Buffer, Program, Region, Step
from edgec.memory.repeat import Built, Decisions, Pattern, copied, form, pattern
from edgec.memory.tile_choice import TileChoice
from edgec.memory.tiling.step import StepContext
from edgec.target import Target


class Steps:
    """A graph planned step by step. homes, permanent: of what lives for good."""

    def __init__(
        self,
        graph: Graph,
        target: Target,
        context: int,
        homes: Mapping[str, Region],
        permanent: list[Buffer],
        known: Decisions,
        choices: Choices = ALL,
    ) -> None:
        self.graph, self.target, self.context, self.known, self.choices = graph, target, context, known, choices
        self.always = blocks(permanent)
        self.homes = dict(homes) | rows_in_place(graph, homes, target)
        found, self.activations, self.alive = place_activations(graph, self.homes, permanent, target, choices.in_place)
        self.homes |= found
        self.patterns: dict[object, Pattern] = {}

    def program(self, phases: bool = True) -> Program:
        """All steps. phases: False, and they only take their room."""
        steps, buffers = [], list(self.activations)
        for index, node in enumerate(self.graph.nodes):
            context = self._context(node)
            built, made = self._planned(index, context, phases)
            writes = tuple(
                (v, self.homes[v], context.rows_of(v), self.graph.type_of(v).row_bytes) for v in node.outputs.values()
            )
            steps.append(Step(index, node.name, node.op, node.source, built, writes))
            buffers += made
        return Program(self.graph.name, self.graph.rows, steps, buffers)

    def cycles(self, indexes: list[int]) -> dict[int, float]:
        """Predicted cycles of some steps at the end of the context, each by itself."""
        return {index: self._choice(index, self._context(self.graph.nodes[index])).cycles() for index in indexes}

    def calls(self) -> int:
        """Kernel calls of all steps."""
        return sum(self._choice(i, self._context(node)).calls() for i, node in enumerate(self.graph.nodes))

    def _planned(self, index: int, context: StepContext, phases: bool) -> Built:
        """The chosen tiling; equal situations are decided once, and equal steps planned once."""
        choice = self._choice(index, context)
        key = (choice.at, form(context, choice.alive, self.known))
        if key in self.patterns:
            return copied(self.patterns[key], context, index)
        built = choice.built(phases)
        self.patterns[key] = pattern(context, built)
        return built

    def _choice(self, index: int, context: StepContext) -> TileChoice:
        return TileChoice(context, index, [*self.always, *self.alive[index]], self.known)

    def _context(self, node: Node) -> StepContext:
        return StepContext(node, self.graph, self.homes, self.target, self.context, self.choices)
