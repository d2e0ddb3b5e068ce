"""Trains a tiny BART from nothing to write a story's first sentence: small, but with ROUGE figures that mean something.

    python examples/train_summaries.py --data STORIES.txt --out out/first-sentence --minutes 1
    edgec build out/first-sentence --bits 8 --context 96
    edgec evaluate out/first-sentence-siracusa --task summaries --data out/first-sentence/held-out.jsonl

STORIES.txt has stories split by `<|endoftext|>` or blank lines. A source is a story's beginning, its summary the first
sentence of it. A tenth of the stories is held out, in held-out.jsonl ({"source", "summary"} a line). The seed fixes all
random draws; the number of steps, and so the exact weights, depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import BartConfig, BartForConditionalGeneration

START, PAD, END, UNKNOWN = range(4)
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
SIZES: dict[str, Any] = {
    **{"d_model": 64, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128},
    **{"encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 64},
}
VOCABULARY = 512
LIMITS = (56, 32)  # tokens of a source, of a summary
BATCH, LEARNING_RATE, WARMUP_STEPS = 16, 3e-3, 50


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="a folder to make")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=1_000_000, help="at most")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    train(options.data, options.out, options.minutes, options.steps, options.seed)


def pairs(text: str) -> list[tuple[str, str]]:
    """(source, summary) of every story that has several sentences, its first one not too long."""
    found = []
    for story in re.split(r"<\|endoftext\|>|\n\s*\n", text):
        sentences = re.split(r"(?<=[.!?])\s+", " ".join(story.split()))
        if len(sentences) > 2 and 4 <= len(sentences[0].split()) <= 20:
            found.append((" ".join(sentences[:4]), sentences[0]))
    return found


def learned_tokenizer(texts: list[str]) -> Tokenizer:
    """Byte-level BPE of these texts, <s> before and </s> behind each."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel()
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", START), ("</s>", END)]
    )
    return made


def cut(ids: list[int], most: int) -> list[int]:
    """At most so many ids, the end's included."""
    return ids if len(ids) <= most else [*ids[: most - 1], END]


def padded(rows: list[list[int]], filler: int) -> torch.Tensor:
    """Rows as one tensor, filled up to the longest."""
    width = max(map(len, rows))
    return torch.tensor([row + [filler] * (width - len(row)) for row in rows])


def train(data: Path, out: Path, minutes: float, steps: int, seed: int) -> float:
    """Train and write the folder; the last steps' mean loss."""
    torch.manual_seed(seed)
    examples = pairs(data.read_text(encoding="utf-8"))
    kept, held = examples[len(examples) // 10 :], examples[: len(examples) // 10]
    tokenizer = learned_tokenizer([source for source, _ in kept])
    ids = [
        tuple(cut(tokenizer.encode(text).ids, most) for text, most in zip(pair, LIMITS, strict=True)) for pair in kept
    ]
    config = BartConfig(
        vocab_size=VOCABULARY,
        **SIZES,
        dropout=0.0,
        bos_token_id=START,
        pad_token_id=PAD,
        eos_token_id=END,
        decoder_start_token_id=END,
    )
    model = BartForConditionalGeneration(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    began, losses = time.monotonic(), list[float]()
    while (passed := (time.monotonic() - began) / 60) < minutes and len(losses) < steps:
        picked = [ids[i] for i in torch.randint(len(ids), (BATCH,), generator=generator).tolist()]
        sources, targets = (padded([pair[side] for pair in picked], PAD) for side in (0, 1))
        share = max(passed / minutes, len(losses) / steps)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (len(losses) + 1) / WARMUP_STEPS, 4 * (1 - share))
        labels = targets.masked_fill(targets == PAD, -100)
        loss = model(input_ids=sources, attention_mask=(sources != PAD).long(), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        if len(losses) % 100 == 0:
            print(f"step {len(losses)}, {60 * passed:.0f} s, loss {sum(losses[-100:]) / 100:.3f}", flush=True)
    model.generation_config.forced_bos_token_id = START
    model.eval().save_pretrained(out)
    tokenizer.save(str(out / "tokenizer.json"))
    settings = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (out / "tokenizer_config.json").write_text(json.dumps(settings) + "\n")
    rows = [json.dumps({"source": source, "summary": summary}) + "\n" for source, summary in held]
    (out / "held-out.jsonl").write_text("".join(rows))
    return sum(losses[-20:]) / max(1, len(losses[-20:]))


if __name__ == "__main__":
    main()
