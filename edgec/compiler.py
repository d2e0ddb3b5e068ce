"""build(): the whole compiler, top to bottom. Start reading here.

checkpoint ──load──▶ compress ──▶ quantise ──▶ lower ──▶ plan ──check──▶ emit ──compile──▶ report ──▶ OUT
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.artifact import Artifact
from edgec.compress.depth import rank_layers
from edgec.compress.pipeline import Measure, compress
from edgec.compress.rtn import quantize_model
from edgec.compress.shapes import planned_model
from edgec.compress.vocab import settled
from edgec.emit.project import Golden, fnv1a, project_files
from edgec.emit.riscv import rv32_float_abi
from edgec.facts import described, facts
from edgec.frontend.checkpoint import Checkpoint, TextTokenizer
from edgec.frontend.huggingface_config import architecture_of
from edgec.frontend.load import load_checkpoint
from edgec.frontend.seq2seq_config import decoder_start
from edgec.ir.graph import Graph
from edgec.ir.text import print_graph
from edgec.lower.builder import NUMPY_TO_DTYPE
from edgec.lower.model import constants
from edgec.lower.programs import ready
from edgec.memory.check import check
from edgec.memory.images import images
from edgec.memory.plan import Plan
from edgec.memory.planner import add_program
from edgec.memory.serialize import plan_sha256, plan_text
from edgec.ops.sample import Sampling
from edgec.output import replaced_folder, write_file
from edgec.planning import context_of, longest_decode, models, plan_model, refuse_for_encoder, remedies
from edgec.recipe import KV_BITS, Recipe
from edgec.report.explain import effects
from edgec.report.files import write_report
from edgec.report.report import make_report
from edgec.simulate.reference import ReferenceRunner
from edgec.target import load_target, target_path
from edgec.verify.elf_map import check_chip_elf, check_elf
from edgec.verify.toolchain import compile_chip, compile_rv32, sizes

NO_WEIGHTS = "planned from the configuration alone: no weights were read, no program was compiled; code is not counted"
GOLDEN_PROMPT, GOLDEN_TOKENS = "Once upon a time", 8

Progress = Callable[[str], None]


def build(
    model: str,
    *,
    target: str = "siracusa",
    recipe: Recipe | None = None,
    out: Path,
    tokenizer: str | None = None,
    progress: Progress | None = None,
    stages_progress: Callable[[str, int, int], None] | None = None,
    measure: Measure | None = None,
    minutes: float | None = None,
    explain: bool = False,
) -> Artifact:
    """Build `model` for `target` into the folder `out`, which is replaced as a whole or left alone.

    The recipe's stages leave their checkpoints in the folder `<out>.stages`, and are taken from there if they are done;
    `measure` gives the quality of each, `minutes` bounds the time of each that trains; with `explain` the report says
    what each decision of the planner is worth.
    A model that does not fit is a result too: the folder then holds plan and report, and no program.
    """
    say = progress or (lambda text: None)
    recipe = recipe or Recipe()
    chip = load_target(target)
    with replaced_folder(out) as folder:
        say("load")
        loaded = checkpoint = load_checkpoint(model, tokenizer)
        unrounded, table = model, tuple(checkpoint.stages)
        refuse_for_encoder(checkpoint.config, recipe, explain)
        if recipe.stages:
            recipe = replace(recipe, stages=settled(recipe.stages, checkpoint, recipe.calibration))
            stages_folder = out.with_name(out.name + ".stages")
            bar = stages_progress or (lambda text, done, total: say(f"{text} {done}/{total}"))
            compressed = compress(checkpoint, recipe, stages_folder, say=bar, measure=measure, minutes=minutes)
            named = {key: checkpoint.provenance[key] for key in ("source", "format") if key in checkpoint.provenance}
            made = compressed.model
            checkpoint, table = replace(made, provenance=made.provenance | named), compressed.table
            unrounded = str(compressed.unrounded or model)
        context = context_of(checkpoint.config.max_seq_len, recipe)
        quantized = quantize_model(
            checkpoint,
            recipe.quantize,
            lambda name, i, n: say(f"quantise {i + 1}/{n} {name}"),
            recipe.build.branch_bits,
            recipe.build.sparse,
            KV_BITS[recipe.build.kv],
        )
        say("lower and plan")
        lowered = ready(quantized, chip, context)
        consts = constants(lowered, context)
        graphs, memory_plan = plan_model(lowered, chip, context, recipe)
        say("find the longest context")
        longest = longest_decode(lowered, chip)
        meta = described(checkpoint, quantized, recipe, chip, memory_plan, longest)
        meta["stages"] = list(table)
        say("search for remedies")
        rank = partial(rank_layers, loaded, recipe.calibration, recipe.seed, say) if recipe.calibration.file else None
        meta["remedies"] = remedies(models(loaded, quantized, recipe), recipe, memory_plan, bool(loaded.packed), rank)
        meta["effects"] = effects(quantized, memory_plan, say) if explain else []
        meta["provenance"]["plan_sha256"] = plan_sha256(memory_plan)
        if memory_plan.deficits():
            add_program(memory_plan)
        else:
            say("check the plan")
            check(memory_plan)
            say("emit")
            golden = _golden(graphs, consts, checkpoint.tokenizer, context, decoder_start(checkpoint.config))
            meta |= _emit(folder, memory_plan, consts, golden, meta)
        say("report")
        _write_rest(folder, meta, graphs, memory_plan, checkpoint, target)
        write_file(folder / "local.json", _where(unrounded, tokenizer, bool(recipe.stages)))
    return Artifact.load(out)


def plan_config(
    file: Path, target: str, recipe: Recipe, progress: Progress | None = None, explain: bool = False
) -> tuple[dict[str, Any], dict[str, Graph], Plan]:
    """Plan a model from its config.json alone: what make_report needs, with no weights and no program.

    Raises ModelError, RecipeError or TargetError.
    """
    say = progress or (lambda text: None)
    chip = load_target(target)
    architecture = architecture_of(file)
    refuse_for_encoder(architecture.config, recipe, explain)
    model = planned_model(architecture.config, architecture.extras, recipe)
    context = context_of(model.config.max_seq_len, recipe)
    say("lower and plan")
    lowered = ready(model, chip, context)
    graphs, made = plan_model(lowered, chip, context, recipe)
    say("find the longest context")
    longest = longest_decode(lowered, chip)
    say("search for remedies")
    found = remedies(lambda r: planned_model(architecture.config, architecture.extras, r), recipe, made)
    explained = effects(model, made, say) if explain else []
    add_program(made)
    files = {file.name: _sha256(file.read_bytes())}
    provenance = {"source": file.name, "format": "config", "files": files, "notes": [NO_WEIGHTS]}
    meta = facts(Path(file.name), model, recipe, chip, made, longest)
    return (
        meta | {"provenance": provenance, "weights_read": False, "stages": [], "remedies": found, "effects": explained},
        graphs,
        made,
    )


def _golden(
    graphs: dict[str, Graph],
    consts: Mapping[str, NDArray[Any]],
    tokenizer: TextTokenizer | None,
    context: int,
    start: Sequence[int],
) -> Golden:
    """The self-test's vectors, from the reference. start: of what a model writes about a source."""
    reference = ReferenceRunner(graphs, consts, keep_prepared=False)
    source: list[int] = []
    if "encode" in graphs:
        source = tokenizer.encode_within(GOLDEN_PROMPT, context) if tokenizer else [0]
        vector = reference.encode(source)
        if "decode" not in graphs:
            return Golden(tuple(source), (), fnv1a(vector.tobytes()))
    prompt = list(start) or (tokenizer.encode(GOLDEN_PROMPT) if tokenizer else [])[: max(1, context - 1)] or [0]
    reference.sampling(Sampling())
    tokens = [reference.prefill(prompt)]
    while len(tokens) < GOLDEN_TOKENS and reference.pos < context:
        tokens.append(reference.decode(tokens[-1]))
    return Golden(tuple(prompt), tuple(tokens), fnv1a(reference.logits.tobytes()), tuple(source))


def _emit(
    folder: Path, made: Plan, consts: Mapping[str, NDArray[Any]], golden: Golden, meta: dict[str, Any]
) -> dict[str, Any]:
    """Write the C project, link its program and count it in the plan; what build.json says about both."""
    data = images(made, consts)
    files = project_files(
        made, data, golden, meta["title"], meta["model"]["vocab_size"], meta["provenance"]["plan_sha256"]
    )
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        raw = content.encode() if isinstance(content, str) else bytes(content)
        digest.update(path.encode() + hashlib.sha256(raw).digest())
        write_file(folder / "project" / path, raw)
    program = _link(folder / "project", made, data)
    homes = {b.name: b for b in made.buffers}
    table = {
        name: {
            "level": homes[name].level,
            "offset": homes[name].offset,
            "dtype": NUMPY_TO_DTYPE[array.dtype.name],
            "shape": list(array.shape),
            "sha256": hashlib.sha256(np.ascontiguousarray(array).data).hexdigest(),
        }
        for name, array in sorted(consts.items())
    }
    meta["provenance"]["project_sha256"] = digest.hexdigest()
    return {"program": program, "constants": table}


def _link(project: Path, made: Plan, data: Mapping[str, NDArray[np.uint8]]) -> dict[str, Any]:
    """Bytes of the linked program by level, which the plan gets too; every ELF's map is checked against the plan.

    They are the chip's own program's, where there is one. The generic RV32 program is linked for every target: it is
    what `make rv32` builds in the project.
    """
    target, runtime = made.target, made.target.runtime
    with tempfile.TemporaryDirectory(prefix="edgec-") as build:
        elf = compile_rv32(project, Path(build) / "model.elf", float_abi=rv32_float_abi(target))
        check_elf(made, data, elf)
        if runtime.hal:
            elf = compile_chip(project, target, Path(build) / "chip.elf")
        found = sizes(elf)
        code_bytes, data_bytes = found.code_bytes, found.data_bytes + found.bss_bytes
        add_program(made, code_bytes, data_bytes)
        if runtime.hal:
            check_chip_elf(made, data, elf)
    return {
        "code_bytes": code_bytes,
        "code_level": runtime.code_level or target.placement.program,
        "data_bytes": data_bytes,
        "data_level": target.placement.program,
        "stack_bytes": target.reserved_bytes - runtime.state_bytes if target.reserved_bytes else runtime.stack_bytes,
        "stack_level": runtime.stack_level or target.placement.program,
    }


def _write_rest(
    folder: Path, meta: dict[str, Any], graphs: dict[str, Graph], made: Plan, checkpoint: Checkpoint, target: str
) -> None:
    for name, graph in graphs.items():
        write_file(folder / "graph" / f"{name}.txt", print_graph(graph))
    write_file(folder / "plan.json", plan_text(made))
    write_file(folder / "target.toml", target_path(target).read_bytes())
    if checkpoint.tokenizer is not None:
        write_file(folder / "tokenizer.json", checkpoint.tokenizer.backend.to_str())
    write_report(folder, make_report(meta, made, graphs, {}))
    write_file(folder / "build.json", json.dumps(meta, indent=1, sort_keys=True) + "\n")


def _where(model: str, tokenizer: str | None, staged: bool) -> str:
    """Where this machine has the float checkpoint, for `edgec verify`; the only file that knows paths.

    Behind stages that is another one than the build's own, so the hashes of its files are noted too.
    """
    found = [str(Path(name).resolve()) if name and Path(name).exists() else name for name in (model, tokenizer)]
    noted: dict[str, Any] = {"model": found[0], "tokenizer": found[1]}
    if staged:
        noted["files"] = load_checkpoint(model, tokenizer).provenance.get("files")
    return json.dumps(noted) + "\n"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
