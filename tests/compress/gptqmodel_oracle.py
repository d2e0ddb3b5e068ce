"""What GPTQModel makes of its own checkpoints: run as a process, `python gptqmodel_oracle.py FOLDER`.

FOLDER/cases.json: {name: {"model": folder of a float model, "config": arguments of QuantizeConfig}}. For each case the
quantised checkpoint is saved to FOLDER/name and loaded again, and what GPTQModel's torch modules dequantise to is kept
in FOLDER/name.npz: `module` in binary16, as they compute, and `module.f32` with their scales widened to float32.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

SAMPLES, LENGTH = 8, 64


def quantize(folder: Path, name: str, case: dict[str, Any]) -> None:
    import torch
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig

    awq = case["config"].get("method") == "awq"
    backend = BACKEND.AWQ_TORCH if awq else BACKEND.GPTQ_TORCH
    dtype = torch.float16 if awq else torch.float32
    model = GPTQModel.load(case["model"], QuantizeConfig(**case["config"]), device="cpu", dtype=dtype)
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, case["vocab"], size=(SAMPLES, LENGTH)))
    data = [{"input_ids": row[None], "attention_mask": torch.ones_like(row[None])} for row in tokens]
    model.quantize(data, batch_size=1, backend=backend)
    model.save(str(folder / name))
    keep(folder, name, awq)


def keep(folder: Path, name: str, awq: bool) -> None:
    """Load a checkpoint and save what its modules dequantise to."""
    import torch
    from gptqmodel import BACKEND, GPTQModel
    from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

    backend = BACKEND.AWQ_TORCH if awq else BACKEND.GPTQ_TORCH
    loaded = GPTQModel.load(str(folder / name), device="cpu", backend=backend, dtype=torch.float16).model
    arrays = {}
    for module_name, module in loaded.named_modules():
        if not hasattr(module, "qweight"):
            continue
        half = module.scales
        for suffix, scales in (("", half), (".f32", half.float())):
            if awq:
                w = dequantize_gemm(module.qweight, module.qzeros, scales, module.bits, module.group_size)
            else:
                module.scales = scales
                w = module.dequantize_weight()
            arrays[module_name + suffix] = w.T.contiguous().numpy()
    np.savez(folder / f"{name}.npz", **arrays)


if __name__ == "__main__":
    os.environ["GPTQMODEL_CPU_WORKERS"] = "2"
    where = Path(sys.argv[1])
    for key, value in json.loads((where / "cases.json").read_text()).items():
        if "config" in value:
            quantize(where, key, value)
        else:
            keep(where, key, value["awq"])
