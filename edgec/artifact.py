"""A built output folder: what `edgec build` writes and every other command reads.

OUT/build.json         what was built from what: model, recipe, target, hashes, versions
OUT/target.toml        the target's description as it was
OUT/plan.json          every byte and transfer            OUT/graph/*.txt   the graphs
OUT/tokenizer.json     the tokenizer                      OUT/project/      the C project
OUT/local.json         where this machine has the checkpoint (the only file with paths)
OUT/report.json .txt   the report                         OUT/verification.json   written by `edgec verify`
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.errors import OutputError, VerifyError
from edgec.frontend.checkpoint import TextTokenizer
from edgec.ir.graph import DTYPES, Graph
from edgec.ir.text import parse_graph
from edgec.memory.plan import Plan
from edgec.memory.serialize import load_plan
from edgec.ops.sample import Sampling
from edgec.simulate.reference import ReferenceRunner
from edgec.simulate.simulator import Simulator
from edgec.target import load_target

FORMAT = "edgec-build/3"


@dataclass(frozen=True)
class Artifact:
    """A built folder, its parts read when first asked for."""

    path: Path
    meta: dict[str, Any]

    @classmethod
    def load(cls, path: str | Path) -> Artifact:
        """Open a built folder. Raises OutputError in one sentence if it is not one."""
        path = Path(path)
        if not path.is_dir():
            raise OutputError(f"{path} is not a folder; edgec build makes it.")
        try:
            meta = json.loads((path / "build.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise OutputError(f"{path} was not built by edgec: it has no readable build.json.") from None
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise OutputError(f"{path} was built by another version of edgec; build it again.")
        return cls(path, meta)

    @property
    def project(self) -> Path:
        """The C project."""
        return self.path / "project"

    @property
    def built(self) -> bool:
        """Whether there is a program: a model that does not fit has a plan and a report only."""
        return self.project.is_dir()

    @property
    def encodes(self) -> bool:
        """Whether the model turns a text into a vector."""
        return "decode" not in self.plan.programs

    @property
    def seq2seq(self) -> bool:
        """Whether the model reads a text and writes another; one that is neither this nor `encodes` continues one."""
        return {"encode", "decode"} <= self.plan.programs.keys()

    @property
    def decoder_start(self) -> list[int]:
        """The tokens that everything a model writes about a source begins with."""
        return [int(token) for token in self.meta["model"].get("decoder_start", ())]

    @cached_property
    def plan(self) -> Plan:
        """The plan as the folder has it."""
        return load_plan(self._text("plan.json"), load_target(str(self.path / "target.toml")))

    @cached_property
    def graphs(self) -> dict[str, Graph]:
        """The graphs by name."""
        return {name: parse_graph(self._text(f"graph/{name}.txt")) for name in self.plan.programs}

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer."""
        from tokenizers import Tokenizer

        ids = self.meta["tokenizer"]
        backend = Tokenizer.from_str(self._text("tokenizer.json"))
        if ids["encode_special_tokens"]:
            backend.encode_special_tokens = True
        return TextTokenizer(backend, ids["bos_id"], tuple(ids["eos_ids"]), ids["add_bos"], ids.get("add_eos", False))

    @cached_property
    def images(self) -> dict[str, NDArray[np.uint8]]:
        """Initial bytes of the memories."""
        self.require_program()
        images = {}
        for memory in self.plan.target.memories:
            file = self.project / f"{memory.name.lower()}.bin"
            if file.is_file():
                images[memory.name] = np.fromfile(file, np.uint8)
        return images

    def constants(self) -> dict[str, NDArray[Any]]:
        """Every constant, cut out of the images where the build put it; VerifyError if one is not what was built."""
        consts = {}
        for name, entry in self.meta["constants"].items():
            kind = np.dtype(DTYPES[entry["dtype"]])
            size = int(np.prod(entry["shape"])) * kind.itemsize
            data = self.images[entry["level"]][entry["offset"] : entry["offset"] + size]
            if hashlib.sha256(data.tobytes()).hexdigest() != entry["sha256"]:
                file = f"project/{entry['level'].lower()}.bin"
                raise VerifyError(f"constant {name} in {file} is not the one that was built.")
            consts[name] = data.view(kind).reshape(entry["shape"])
        return consts

    def require_program(self) -> None:
        """Raise OutputError unless the folder has a program."""
        if not self.built:
            raise OutputError(f"{self.path} holds a report only: the model does not fit {self.meta['target']}.")

    def simulator(self, late: bool = False) -> Simulator:
        """The plan's simulator, greedy, at position 0."""
        simulator = Simulator(self.plan, self.images, late=late)
        if not self.encodes:
            simulator.sampling(Sampling())
        return simulator

    def reference(self) -> ReferenceRunner:
        """The graph's reference, greedy, at position 0."""
        self.require_program()
        runner = ReferenceRunner(self.graphs, self.constants())
        if not self.encodes:
            runner.sampling(Sampling())
        return runner

    def verification(self) -> dict[str, Any]:
        """What `edgec verify` last found, or an empty dictionary."""
        file = self.path / "verification.json"
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}

    def _text(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{self.path / name} cannot be read: {error.strerror}.") from None
