"""The emitted project: a plan and its constants become files by path.

model.c model.h         the plan as C           arenas.S *.bin      the memories and their initial bytes
kernels/                what model.c calls      hal* crt0.S link.ld the ground it stands on
main.c golden.h         demo and self-test      verify_main.c       the program that `edgec verify` drives
CMakeLists.txt Makefile README.md   how to compile and use it
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec import __version__
from edgec.emit.kernel_copies import COPIES, copies_for
from edgec.emit.model_c import accelerators, called_modules, included_modules, memories, model_c, model_h
from edgec.emit.riscv import COMPILERS, chip_definitions, riscv_flags, rv32_float_abi
from edgec.emit.templates import render
from edgec.errors import TargetError
from edgec.memory.call_tables import calls_buffer
from edgec.memory.plan import Plan
from edgec.resources import folder
from edgec.target import Target

COPIED = ("hal.h", "hal_host.c", "hal_rv32.c", "freestanding.h", "crt0.S", "console.h", "main.c", "verify_main.c")
RV32_STACK_BYTES = 16_384  # where the chip has a program of its own, and so the target's figure is that one's
VARIANTS = ("generic", "xpulpv2", "neureka")  # suffixes of kernels' files


@dataclass(frozen=True)
class Golden:
    """What the self-test compares: a prompt, the greedy tokens that follow, FNV-1a of the last logits' bytes.

    Of an encoder: a text, no tokens, and the hash of its vector. Of a model that writes about a source: that, and the
    tokens that it begins with as the prompt.
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    logits_fnv: int
    source: tuple[int, ...] = ()


def fnv1a(data: bytes) -> int:
    """The 32-bit FNV-1a hash."""
    value = 2166136261
    for byte in data:
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return value


def project_files(
    plan: Plan, images: Mapping[str, NDArray[np.uint8]], golden: Golden, title: str, vocab: int, plan_hash: str
) -> dict[str, str | bytes | NDArray[np.uint8]]:
    """Contents of every file by path; the same plan gives the same bytes."""
    arenas = memories(plan, {level: image.size for level, image in images.items()})
    for arena in arenas:
        if arena["image"]:  # compilers that cache do not look into the files that .incbin names
            arena["image_sha256"] = hashlib.sha256(images[arena["name"]].tobytes()).hexdigest()
    stack = rv32_stack_bytes(plan.target)
    chip, l3 = plan.target.runtime.hal, _off_chip(plan, arenas)
    encodes, seq2seq = "decode" not in plan.programs, {"encode", "decode"} <= plan.programs.keys()
    copies = copies_for(plan.target, chip_variants(plan.target))
    files: dict[str, str | bytes | NDArray[np.uint8]] = {
        "model.c": model_c(plan, title, copies),
        "model.h": model_h(plan, title, vocab, plan_hash, golden.prompt if seq2seq else ()),
        "arenas.S": render("arenas.S.j2", memories=arenas),
        "link.ld": render("link.ld.j2", memories=arenas, stack_bytes=stack),
        "golden.h": render("golden.h.j2", golden=golden),
        "README.md": render(
            "README.md.j2",
            title=title,
            version=__version__,
            memories=arenas,
            chip=chip,
            l3=l3,
            encodes=encodes,
            seq2seq=seq2seq,
        ),
    }
    own = {f"{chip}/{COPIES}/{name}": text for name, text in copies.files().items()} if copies else {}
    files.update(own)
    if chip:
        files[f"{chip}/link.ld"] = _chip_link(plan, arenas, l3)
        for path in (folder("templates") / chip).iterdir():
            if path.suffix != ".j2":
                files[f"{chip}/{path.name}"] = path.read_bytes()
    kernels = _kernel_files(plan)
    kinds = {"images": sorted(f"{level.lower()}.bin" for level in images)}
    kinds["kernels"] = kernel_sources(kernels)
    kinds["chip_kernels"] = [*kernel_sources(kernels, chip_variants(plan.target)), *sorted(own)]
    kinds["folders"] = sorted({str(Path(p).parent) for p in kernels})
    core, rv32 = plan.target.runtime.float_abi, rv32_float_abi(plan.target)
    words = {
        "chip": chip,
        "rv32": {compiler: " ".join(riscv_flags(rv32, compiler)) for compiler in COMPILERS},
        "core": {compiler: " ".join(riscv_flags(core, compiler)) for compiler in COMPILERS},
        "definitions": " ".join(chip_definitions(plan.target)) if chip else "",
    }
    files["CMakeLists.txt"] = render("CMakeLists.txt.j2", **kinds, **words)
    files["Makefile"] = render("Makefile.j2", **kinds, **words)
    if chip:
        files[f"{chip}/gcc.cmake"] = render("gcc.cmake.j2", **words)
    for name in COPIED:
        files[name] = (folder("templates") / name).read_bytes()
    if encodes or seq2seq:
        main = "main_encoder.c" if encodes else "main_seq2seq.c"
        files["main.c"] = (folder("templates") / main).read_bytes()
    if not encodes:
        files["writing.h"] = (folder("templates") / "writing.h").read_bytes()
    files.update({path: (folder("kernels") / Path(path).relative_to("kernels")).read_bytes() for path in kernels})
    files.update({f"{level.lower()}.bin": image for level, image in images.items()})
    return files


def rv32_stack_bytes(target: Target) -> int:
    """Stack of the generic RV32 program, which computes an accelerator's jobs itself."""
    return max(target.runtime.stack_bytes, RV32_STACK_BYTES) if target.runtime.hal else target.runtime.stack_bytes


def chip_variants(target: Target) -> frozenset[str]:
    """Which kernels' files the target's own program is built from, where there is a choice."""
    return frozenset({target.engines[0].isa, *(a.kind for a in target.accelerators)} - {""})


def kernel_sources(paths: Iterable[str], variants: Collection[str] = ()) -> list[str]:
    """Of kernels' files those to compile: `<name>_<variant>.c` for one of `variants` if there is one, else generic."""
    chosen: dict[str, str] = {}
    for path in sorted(p for p in paths if p.endswith(".c")):
        name, _, variant = path.removesuffix(".c").rpartition("_")
        if variant not in VARIANTS:
            chosen[path] = path
        elif variant == "generic":
            chosen.setdefault(name, path)
        elif variant in variants:
            chosen[name] = path
    return sorted(chosen.values())


def _chip_link(plan: Plan, arenas: list[dict[str, Any]], l3: dict[str, Any]) -> str:
    """The linker script of the target's own HAL."""
    target = plan.target
    for link in target.links:  # the off-chip memory is the I/O DMA's alone, which knows the program's memory only
        ends = {link.source, link.destination}
        if l3["name"] in ends and ends != {l3["name"], target.placement.program}:
            raise TargetError(
                f"{target.name} has a link {link.name}, but the program of {target.runtime.hal} can move what is in"
                f" {l3['name']} from and to {target.placement.program} only: remove the link."
            )
    chip = [m for m in target.memories if m.base is not None]
    stacks: dict[str, int] = {
        "main": target.runtime.stack_bytes,
        "worker": target.runtime.worker_stack_bytes,
        "cores": target.engines[0].cores,
        "start": next(b.offset for b in plan.buffers if b.name == "stacks"),
    }
    return render(
        f"{target.runtime.hal}/link.ld.j2",
        memories=arenas,
        chip=chip,
        stacks=stacks,
        stack_level=target.runtime.stack_level,
        program=target.placement.program,
        code=target.runtime.code_level or target.placement.program,
        near=calls_buffer(plan),
        l3=l3,
    )


def _off_chip(plan: Plan, arenas: list[dict[str, Any]]) -> dict[str, Any]:
    """The arena in the memory that no load reaches, which has 0 bytes where the plan does not use one."""
    memory = next((m for m in plan.target.memories if not m.on_chip), None)
    unused = {"name": "", "base": 0, "bytes": 0, "image": None, "image_bytes": 0}
    if memory is None:
        return unused
    arena = next((a for a in arenas if a["name"] == memory.name), {})
    return unused | arena | {"name": memory.name, "base": memory.base or 0}


def _kernel_files(plan: Plan) -> list[str]:
    """Paths of the kernels that the plan calls, and of what they share."""
    modules = called_modules(plan) | included_modules(plan) | accelerators(plan) | {"common"}
    root = folder("kernels")
    return sorted(
        f"kernels/{path.relative_to(root).as_posix()}"
        for module in modules
        for path in (root / module).rglob("*")
        if path.suffix in (".c", ".h", ".inc")
    )
