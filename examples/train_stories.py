"""Make edgec's embedded default model: stories260K, grown to 951,936 parameters and trained on.

    python examples/train_stories.py --teacher DIR --data FILE --out DIR --minutes 28 --seed 0

The teacher's DIR holds `stories260K.bin` and `tok512.bin` (llama2.c format), FILE holds stories
split by `<|endoftext|>`. The student starts as the teacher itself, grown so that it computes the
same. It then learns from the teacher's logits (on text sampled from the teacher and on the real
stories) and from the real stories. Every other step sees the weights rounded to int4, so that
quantisation costs little later. A run that was stopped goes on from `OUT.checkpoint`. The seed
fixes all random draws; the number of steps, and so the exact weights, depend on the machine.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from stories_teacher import ARCHITECTURE, BOS, EOS, build_tokenizer, grow, read_teacher
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as fn
from transformers import LlamaForCausalLM, StaticCache

SEQ_LEN = 512
STUDENT = {
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": SEQ_LEN,
}
NOISE = 0.02  # standard deviation of what growing adds
GROUP_SIZE = 64  # weights that share a scale when rounded
SAMPLED_ROWS, REAL_ROWS = 10, 6  # rows of SEQ_LEN tokens in a batch
TEACHER_WEIGHT = 0.5  # share of the teacher in the loss on real stories
START_WEIGHT = 8.0  # of the one token after BOS that decides how a story starts
LEARNING_RATE, WEIGHT_DECAY, WARMUP_STEPS = 1e-3, 0.1, 50
REPORT_SECONDS = 60


@torch.no_grad()
def sample(model: LlamaForCausalLM, rows: int, generator: torch.Generator) -> Tensor:
    """int16 [rows, SEQ_LEN]: streams of stories that the model tells from BOS, temperature 1."""
    cache = StaticCache(config=model.config, max_cache_len=SEQ_LEN)
    ids = torch.full((rows, SEQ_LEN), BOS)
    for i in range(SEQ_LEN - 1):
        logits = model(ids[:, i : i + 1], past_key_values=cache, use_cache=True).logits[:, -1]
        ids[:, i + 1] = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    return ids.to(torch.int16)


def pick_rows(stories: list[list[list[int]]], rows: int, generator: torch.Generator) -> Tensor:
    """Token ids [rows, SEQ_LEN]: streams of random stories, each in one of its variants."""
    picked: list[list[int]] = []
    for _ in range(rows):
        row: list[int] = []
        while len(row) < SEQ_LEN:
            story, variant = torch.randint(1 << 30, (2,), generator=generator).tolist()
            variants = stories[story % len(stories)]
            row += variants[variant % len(variants)]
        picked.append(row[:SEQ_LEN])
    return torch.tensor(picked)


@contextmanager
def rounded(model: LlamaForCausalLM, bits: int | None) -> Iterator[None]:
    """Within, matrices hold `bits`-bit values: symmetric, one scale per GROUP_SIZE inputs."""
    kept = [(p, p.data) for p in model.parameters() if p.dim() == 2]
    limit = 2 ** ((bits or 32) - 1) - 1
    for p, data in kept if bits else []:
        groups = data.reshape(-1, GROUP_SIZE)
        scale = groups.abs().amax(1, keepdim=True).clamp_min(1e-8) / limit
        p.data = ((groups / scale).round().clamp(-limit, limit) * scale).view_as(data)
    try:
        yield
    finally:
        for p, data in kept:
            p.data = data


@torch.no_grad()
def bits_per_byte(model: LlamaForCausalLM, tokenizer: Tokenizer, text: str, window: int = 256) -> float:
    """Bits per UTF-8 byte of `text`, one stream cut into windows of `window` tokens behind BOS."""
    ids = torch.tensor(tokenizer.encode(text, add_special_tokens=False).ids)
    whole = len(ids) // window * window
    nats = 0.0
    blocks = [*torch.split(ids[:whole].view(-1, window), 16), ids[None, whole:]]
    for targets in (block for block in blocks if block.numel()):
        logits = model(fn.pad(targets, (1, 0), value=BOS)[:, :-1]).logits
        nats += float(fn.cross_entropy(logits.transpose(1, 2), targets, reduction="sum"))
    return nats / math.log(2) / len(text.encode())


def loss_of(student: LlamaForCausalLM, teacher: LlamaForCausalLM, ids: Tensor, cuts: Tensor, window: int) -> Tensor:
    """Mean loss a token: KL to the teacher, on the last REAL_ROWS mixed with cross-entropy.

    The teacher sees whole rows [rows, SEQ_LEN]. The student sees `window` tokens of each, from
    token `cuts[row]` on and behind BOS, so that it learns to go on from any point of a story.
    """
    with torch.no_grad():
        wanted = teacher(ids[:, :-1]).logits.log_softmax(-1)
    # The student's position i predicts token `at` of the row, which the teacher does at `at - 1`.
    # What follows BOS at once is learnt from whole rows only (cut 1): stories start as stories do.
    i = torch.arange(window - 1)
    at = i + cuts[:, None]
    weights = ((i > 0) | (cuts[:, None] == 1)).float()
    weights[:, 0] *= START_WEIGHT
    targets = ids.gather(1, at)
    wanted = wanted.gather(1, (at - 1)[..., None].expand(-1, -1, wanted.shape[-1]))
    logs = student(fn.pad(targets, (1, 0), value=BOS)[:, :-1]).logits.log_softmax(-1)
    kl = (wanted.exp() * (wanted - logs)).sum(-1)
    nll = -logs.gather(-1, targets[..., None])[..., 0]
    share = torch.ones(len(ids), 1)
    share[-REAL_ROWS:] = TEACHER_WEIGHT
    mean: Tensor = ((share * kl + (1 - share) * nll) * weights).sum() / weights.sum()
    return mean


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    """Write `out` as a Hugging Face model folder with fp16 weights; ValueError on NaN or Inf.

    Matrices are stored rounded to the int4 grid that they were trained for, so that quantising them to it is exact.
    """
    with rounded(model, 4):
        tensors = {n: p.detach().half().contiguous() for n, p in model.named_parameters()}
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise ValueError("the model holds NaN or Inf: not saved")
    out.mkdir(parents=True, exist_ok=True)
    new = out / "model.safetensors.new"
    save_file(tensors, new, metadata={"format": "pt"})
    new.chmod(0o644)
    os.replace(new, out / "model.safetensors")
    tokenizer.save(str(out / "tokenizer.json"))
    head_dim = STUDENT["hidden_size"] // STUDENT["num_attention_heads"]
    contents = {
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            **STUDENT,
            "head_dim": head_dim,
            **ARCHITECTURE,
            "torch_dtype": "float16",
        },
        "generation_config.json": {"bos_token_id": BOS, "eos_token_id": [BOS, EOS]},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": SEQ_LEN,
            "clean_up_tokenization_spaces": False,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
        },
    }
    for name, content in contents.items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--teacher", type=Path, required=True, help="folder of the llama2.c files")
    parser.add_argument("--data", type=Path, required=True, help="stories split by <|endoftext|>")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--minutes", type=float, default=28, help="time for sampling and training")
    parser.add_argument("--sampled", type=int, default=1024, help="streams that the teacher tells")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    began = shown = time.monotonic()

    tokenizer = build_tokenizer(args.teacher / "tok512.bin")
    sizes, tensors = read_teacher(args.teacher / "stories260K.bin")
    teacher, student = grow(sizes, tensors, sizes).eval(), grow(sizes, tensors, STUDENT, NOISE)
    texts = [s.strip() for s in args.data.read_text().split("<|endoftext|>") if s.strip()]
    # Paragraphs end in one newline in the sample and in two elsewhere: learn both.
    variants = [[s, s.replace("\n", "\n\n")] for s in texts]
    held_out = "\n\n".join(v[1] for v in variants[::10])
    stories = [[tokenizer.encode(s).ids for s in v] for i, v in enumerate(variants) if i % 10]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in student.parameters() if p.dim() == 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in student.parameters() if p.dim() != 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    print(f"teacher: {bits_per_byte(teacher, tokenizer, held_out):.4f} bits/byte on held-out stories")

    checkpoint, step, losses = args.out.with_name(args.out.name + ".checkpoint"), 0, []
    if checkpoint.exists():
        state = torch.load(checkpoint)
        student.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        sampled, step = state["sampled"], state["step"]
        began -= state["spent"]
        print(f"resumed at step {step}, {state['spent'] / 60:.1f} minutes spent", flush=True)
    else:
        rows = [min(512, args.sampled - i) for i in range(0, args.sampled, 512)]
        sampled = torch.cat([sample(teacher, n, generator) for n in rows])
        print(f"sampled {sampled.numel()} tokens in {time.monotonic() - began:.0f} s", flush=True)

    while (progress := (time.monotonic() - began) / (60 * args.minutes)) < 1:
        for group in optimizer.param_groups:
            cosine = 0.51 + 0.49 * math.cos(math.pi * progress)
            group["lr"] = LEARNING_RATE * cosine * min(1, (step + 1) / WARMUP_STEPS)
        picks = torch.randint(len(sampled), (SAMPLED_ROWS,), generator=generator)
        ids = torch.cat([sampled[picks].long(), pick_rows(stories, REAL_ROWS, generator)])
        # A quarter of the steps sees the full context, the others half of it, every other row cut.
        window = SEQ_LEN if step % 8 < 2 else SEQ_LEN // 2
        cuts = torch.randint(1, SEQ_LEN // 2, (len(ids),), generator=generator)
        cuts[:: 1 if window == SEQ_LEN else 2] = 1
        with rounded(student, 4 if step % 2 else None):
            loss = loss_of(student, teacher, ids, cuts, window)
            loss.backward()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise ValueError(f"step {step}: the loss is {losses[-1]}; lower LEARNING_RATE")
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if time.monotonic() - shown > REPORT_SECONDS:
            spent = time.monotonic() - began
            print(
                f"step {step}  loss {sum(losses) / len(losses):.4f}  held-out"
                f" {bits_per_byte(student, tokenizer, held_out):.4f} bits/byte"
                f"  {max(0.0, args.minutes - spent / 60):.1f} minutes left",
                flush=True,
            )
            state = {"model": student.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"generator": generator.get_state(), "sampled": sampled}
            torch.save({**state, "step": step, "spent": spent}, checkpoint.with_suffix(".new"))
            os.replace(checkpoint.with_suffix(".new"), checkpoint)
            save(student, tokenizer, args.out)
            shown, losses = time.monotonic(), []

    save(student, tokenizer, args.out)
    checkpoint.unlink(missing_ok=True)
    for name, bits in {"float": None, "int8": 8, "int4": 4}.items():
        with rounded(student, bits):
            value = bits_per_byte(student, tokenizer, held_out)
        print(f"{name}: {value:.4f} bits/byte on held-out stories")
    tokens = step * (SAMPLED_ROWS + REAL_ROWS) * SEQ_LEN * 5 // 8
    print(f"{step} steps, {tokens} tokens, {(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
