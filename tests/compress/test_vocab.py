"""Vocabulary trimming: rows and tokens that are left, the logits that stay the same numbers, and what moves along."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.counts import dry_run
from edgec.compress.depth import Depth
from edgec.compress.pipeline import compress
from edgec.compress.quantize import QuantizeBlocks
from edgec.compress.quantized import QuantizedTensor
from edgec.compress.rtn import quantize_matrix
from edgec.compress.stage import Calibration, Work
from edgec.compress.token_parts import parts_of
from edgec.compress.vocab import Vocab, settled
from edgec.compress.vocabulary import ROWS, ids_of, original_tokens, ranges_of, with_tokens, with_tokens_of
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.load import load_checkpoint
from edgec.recipe import Recipe, load_recipe
from edgec.simulate.reference import ReferenceRunner
from tests.compress.small_tokenizers import text_of, tokenizer_of
from tests.tiny_models import checkpoint, config, planned, recipe


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(text_of(0, 60))
    return tmp_path / "text.txt"


def model_with(kind: str = "byte_level", padded: int = 5, **changes: Any) -> Checkpoint:
    """A random model for a tokenizer of this kind, with rows behind the last token."""
    tokenizer = tokenizer_of(kind)
    source = checkpoint(config(vocab_size=tokenizer.backend.get_vocab_size() + padded, **changes))
    return replace(source, tokenizer=tokenizer)


def trim(model: Checkpoint, text: Path, **options: Any) -> tuple[Checkpoint, dict[str, Any]]:
    work = Work(lambda: model, Calibration(str(text)))
    return Vocab(**options).run(model, work), work.notes


@pytest.mark.parametrize("tied", [True, False])
def test_rows_and_tokens_that_are_left(text: Path, tied: bool) -> None:
    model = model_with(tied_embeddings=tied)
    made, notes = trim(model, text)
    kept = ids_of(notes["kept"])
    assert made.config == replace(model.config, vocab_size=len(kept)) and len(kept) < model.config.vocab_size - 5
    for name in ROWS if not tied else ROWS[:1]:
        assert np.array_equal(made.tensor(name), model.tensor(name)[kept])
    assert (ROWS[1] in made) == (not tied)
    tokens = made.tokenizer.encode(text.read_text())
    assert [kept[i] for i in tokens] == model.tokenizer.encode(text.read_text())
    assert (notes["covered"], notes["tokens"], notes["tokens_after"]) == (1, len(tokens) - 1, len(tokens) - 1)
    assert notes["required"] == 256 + 5 and notes["text"] == "text.txt" and "/" not in json.dumps(notes)


@pytest.mark.parametrize("minimum", [False, True])
def test_packed_rows_are_taken_without_rounding(text: Path, minimum: bool) -> None:
    model = model_with(tied_embeddings=False)
    packed = {}
    for name in ROWS:
        packed[name] = quantize_matrix(model.tensor(name), 4, 32)[0]
        if minimum:
            lowest = np.random.default_rng(0).standard_normal(packed[name].scale.shape).astype(np.float16)
            packed[name] = replace(packed[name], zero=None, minimum=lowest)
    model = model.with_packed(packed)
    made, notes = trim(model, text, size=300)
    kept = ids_of(notes["kept"])
    assert len(kept) == 300
    for name in ROWS:
        rows: QuantizedTensor = made.packed[name]()
        assert np.array_equal(rows.dequantized(), packed[name].dequantized()[kept])
        assert np.array_equal(made.tensor(name), rows.dequantized())
        assert (rows.bits, rows.group_size, rows.k) == (4, 32, 36)
        for part in ("packed", "scale", "zero", "minimum"):
            before, after = getattr(packed[name], part), getattr(rows, part)
            assert (before is None and after is None) or np.array_equal(after, before[kept])


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback", "unigram", "wordpiece", "wordlevel"])
def test_a_size_is_met_exactly(text: Path, kind: str) -> None:
    model = model_with(kind)
    tokens = model.tokenizer.backend.get_vocab_size()
    _, everything = trim(model, text)
    least, used = everything["required"], len(ids_of(everything["kept"]))
    before: set[int] = set()
    for size in sorted({least, least + 1, (least + used) // 2, used, (used + tokens) // 2, tokens}):
        made, notes = trim(model, text, size=size)
        kept = set(ids_of(notes["kept"]))
        assert made.config.vocab_size == len(kept) == size == Vocab(size).shape(model.config).vocab_size
        assert made.tokenizer.backend.get_vocab_size() == size
        assert (notes["covered"] == 1) == (size >= used)
        if size in (least, used):
            assert before <= kept
        before = kept
    assert ids_of(trim(model, text, size=used)[1]["kept"]) == ids_of(everything["kept"])
    for size in (least - 1, tokens + 1):
        with pytest.raises(RecipeError, match=f"vocab.size is {size}; the tokenizer has {tokens} tokens, of which"):
            trim(model, text, size=size)


def test_frequent_tokens_stay_first(tmp_path: Path) -> None:
    """Each as soon as there is room for it, for its parts, and for all that is more frequent."""
    (tmp_path / "t.txt").write_text(" storyteller" * 10 + " garden" * 20 + " sunshine" * 30)
    model = model_with()
    choice = Vocab().choice(model.tokenizer)
    needed = set(choice.required)
    parts = parts_of(json.loads(choice.tokenizer.backend.to_str())["model"])
    for token in ("Ġsunshine", "Ġgarden", "Ġstoryteller"):
        number = choice.tokenizer.backend.token_to_id(token)
        needed |= {token, *(parts(token) or ())}
        for size, there in ((len(needed) - 1, False), (len(needed), True), (len(needed) + 1, True)):
            kept = ids_of(trim(model, tmp_path / "t.txt", size=size)[1]["kept"])
            assert (number in kept) == there, (token, size)


def test_texts_and_tokens_that_are_kept_in_any_case(text: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("a")
    model = model_with()
    backend = model.tokenizer.backend
    made, notes = trim(
        model, tmp_path / "short.txt", keep=(" storyteller garden", "Ġsunshine", "<|tool|>"), added=False
    )
    kept = ids_of(notes["kept"])
    for token in ("Ġstoryteller", "Ġgarden", "Ġsunshine", "<|tool|>", "<s>", "</s>"):
        assert backend.token_to_id(token) in kept, token
    for token in ("<|user|>", "<|reserved|>", "Ġfriendly"):
        assert backend.token_to_id(token) not in kept
    assert len(made.tokenizer.encode(" storyteller garden")) == 3
    own, notes = trim(model, text, file=str(tmp_path / "short.txt"))
    assert own.config.vocab_size == notes["required"] and notes["text"] == "short.txt"


def test_logits_of_the_tokens_that_are_left_are_the_same_bits(text: Path) -> None:
    """As the chip computes them, with matrices rounded afterwards: rows are rounded one by one."""
    for tied in (True, False):
        model = model_with(tied_embeddings=tied)
        made, notes = trim(model, text, size=333)
        kept = ids_of(notes["kept"])
        runners = [ReferenceRunner(p.graphs, p.consts) for p in (planned(m, "host", recipe()) for m in (model, made))]
        for runner, ids in zip(runners, ([kept[i] for i in (5, 300, 7, 261)], [5, 300, 7, 261]), strict=True):
            runner.prefill(ids)
        assert np.array_equal(runners[1].logits, runners[0].logits[kept])
        assert runners[0].logits.shape == (model.config.vocab_size,)


def test_two_stages_name_tokens_as_the_model_before_both(text: Path, tmp_path: Path) -> None:
    model = model_with()
    stages = (Vocab(size=350), Vocab(size=310, file=str(text)), Depth(remove=(1,)))
    made = compress(model, Recipe(stages=stages, calibration=Calibration(str(text))), tmp_path / "out")
    first, second = (ids_of(row["notes"]["kept"]) for row in made.table[1:3])
    assert (len(first), len(second)) == (350, 310) and set(second) < set(first)
    assert original_tokens(made.model.stages) == second
    assert np.array_equal(made.model.tensor(ROWS[0]), model.tensor(ROWS[0])[second])
    assert made.model.tokenizer.backend.get_vocab_size() == 310
    again = with_tokens_of(model, made.model.stages)
    assert np.array_equal(again.tensor(ROWS[0]), made.model.tensor(ROWS[0]))
    assert with_tokens_of(again, ()) is again and with_tokens_of(made.model, made.model.stages) is made.model


def test_the_folder_is_a_model_of_its_own(text: Path, tmp_path: Path) -> None:
    model = model_with(tied_embeddings=False)
    model.tokenizer.backend.encode_special_tokens = True
    options = Recipe(stages=(Vocab(size=300),), calibration=Calibration(str(text)))
    made = compress(model, options, tmp_path / "out")
    assert made.model.tokenizer.backend.encode_special_tokens  # no file says so
    loaded = load_checkpoint(str(tmp_path / "out/1-vocab"))
    assert loaded.config.vocab_size == 300 and loaded.tokenizer.bos_id == made.model.tokenizer.bos_id
    assert [loaded.tokenizer.backend.id_to_token(i) for i in loaded.tokenizer.eos_ids] == ["</s>"]
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    found = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out/1-vocab").eval()
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "out/1-vocab")
    ids = words("once upon a time", add_special_tokens=False)["input_ids"]
    assert ids == loaded.tokenizer.backend.encode("once upon a time", add_special_tokens=False).ids
    from edgec.compress.torch_model import load_torch

    kept = ids_of(made.table[1]["notes"]["kept"])
    with torch.no_grad():
        logits = found(torch.tensor([ids])).logits
        whole = load_torch(model)(torch.tensor([[kept[i] for i in ids]]))
    assert torch.allclose(logits, whole[..., kept], atol=2e-5)


def test_a_teacher_has_the_same_tokens(text: Path, tmp_path: Path) -> None:
    """What later stages get as the original, and as the model before quantisation, names tokens as their model does."""
    seen: list[tuple[Checkpoint, Checkpoint, Checkpoint | None]] = []

    class Look(Depth):
        def run(self, model: Checkpoint, work: Work) -> Checkpoint:
            seen.append((model, work.original(), work.before_quantize))
            return model

    model = model_with()
    stages = (QuantizeBlocks(by="rtn", group_size=32), Vocab(size=300), Look(remove=(0,)))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Look, "shape", lambda self, made: made)
        compress(model, Recipe(stages=stages, calibration=Calibration(str(text))), tmp_path / "out")
    ((student, teacher, before),) = seen
    assert before is not None
    kept = original_tokens(student.stages)
    for other in (teacher, before):
        assert other.config.vocab_size == 300 and not other.packed
        assert np.array_equal(other.tensor(ROWS[0]), model.tensor(ROWS[0])[kept])
        assert other.tokenizer.encode("once") == student.tokenizer.encode("once")


def test_distillation_towards_the_original_starts_at_no_distance(text: Path, tmp_path: Path) -> None:
    """Trimming changes no logit: the teacher's distribution over the tokens that are left is the student's own."""
    for package in ("torch", "peft"):
        pytest.importorskip(package, reason="the lora stage trains with it")
    from edgec.compress.lora import Lora

    tuned = Lora(rank=2, distill=1.0, steps=1, samples=2, dropout=0.0)
    words = Calibration(str(text), samples=2, length=24)
    made = compress(model_with(), Recipe(stages=(Vocab(size=300), tuned), calibration=words), tmp_path / "out")
    assert made.table[2]["notes"]["losses"][0] == pytest.approx(0, abs=1e-3)


def test_a_run_is_taken_over_until_the_text_changes(text: Path, tmp_path: Path) -> None:
    model = model_with()
    options = Recipe(stages=(Vocab(file=str(text)),))
    first = compress(model, options, tmp_path / "out")
    stamp = (tmp_path / "out/1-vocab/config.json").stat().st_mtime_ns
    assert compress(model, options, tmp_path / "out").table[1] == first.table[1]
    assert (tmp_path / "out/1-vocab/config.json").stat().st_mtime_ns == stamp
    assert first.table[1]["file"] == "text.txt"
    text.write_text(text_of(0, 60).replace("garden", "gardener"))  # as many tokens, others
    assert compress(model, options, tmp_path / "out").table[1]["key"] != first.table[1]["key"]


def test_sizes_are_known_before_the_first_stage(text: Path) -> None:
    model = model_with(n_layers=3)
    words = Calibration(str(text))
    everything = trim(model, text)[0].config.vocab_size
    with pytest.raises(RecipeError, match="depends on the text"):
        Vocab().shape(model.config)
    with pytest.raises(RecipeError, match=r"vocab.size is 441, but the model has 440 tokens only"):
        Vocab(size=441).shape(model.config)
    stages = settled((Depth(remove=(0,)), Vocab(), Vocab(size=280)), model, words)
    assert [getattr(s, "size", None) for s in stages] == [None, everything, 280]
    sizes = dry_run(model.config, Recipe(stages=stages))
    assert [s.stage for s in sizes[1:]] == ["depth remove=(0,)", f"vocab size={everything}", "vocab size=280"]
    removed = sizes[1].parameters - sizes[2].parameters
    assert removed == 2 * (model.config.vocab_size - everything) * model.config.hidden_dim
    made, _ = trim(model, text)
    assert dry_run(model.config, Recipe(stages=(stages[1],)))[1].parameters == sum(
        made.tensor(name).size for name in made.config.tensor_shapes()
    )


def test_a_text_stands_beside_the_recipe(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text.parent / "r.toml").write_text('[[stage]]\nmethod = "vocab"\nfile = "text.txt"\nkeep = ["a", "b"]\n')
    monkeypatch.chdir("/")
    (stage,) = load_recipe(text.parent / "r.toml").stages
    assert stage == Vocab(file=str(text), keep=("a", "b"))
    assert Recipe(stages=(stage,)).to_dict()["stages"][0]["file"] == "text.txt"


@pytest.mark.parametrize(
    ("options", "change", "words"),
    [
        ({}, {"tokenizer": None}, "has no tokenizer, so no token can go; name one with --tokenizer"),
        ({"size": 1000}, {}, "vocab.size is 1,000; the tokenizer has 435 tokens"),
        ({"size": 100}, {}, "vocab.size is 100; the tokenizer has 435 tokens, of which 261 must stay"),
        ({"size": 438}, {}, "the tokenizer has 435 tokens"),  # there are rows, but no tokens
        ({"file": "nowhere.txt"}, {}, "nowhere.txt does not exist"),
    ],
)
def test_what_is_impossible_is_one_sentence_before_any_stage(
    options: dict[str, Any], change: dict[str, Any], words: str, text: Path, tmp_path: Path
) -> None:
    model = replace(model_with(), **change)
    stages = (Depth(remove=(0,)), Vocab(**options))
    with pytest.raises(RecipeError, match=words) as caught:
        compress(model, Recipe(stages=stages, calibration=Calibration(str(text))), tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_no_text_and_an_end_without_a_token(text: Path) -> None:
    model = model_with()
    with pytest.raises(RecipeError, match=r"name one with vocab.file or --calibration"):
        Vocab().run(model, Work(lambda: model))
    with pytest.raises(RecipeError, match="a number of tokens"):
        Vocab(size=-1)
    beyond = replace(model.tokenizer, eos_ids=(438,))
    with pytest.raises(RecipeError, match="with token 438, which the tokenizer does not have"):
        trim(replace(model, tokenizer=beyond), text)


def test_ranges() -> None:
    for ids in ([], [3], [0, 1, 2, 5, 7, 8], list(range(1000))):
        assert ids_of(ranges_of(ids)) == ids
    assert ranges_of([0, 1, 2, 5, 7, 8]) == "0-2 5 7-8"


def test_a_model_without_tokenizer_keeps_rows() -> None:
    """A teacher may have none."""
    model = replace(model_with(), tokenizer=None)
    made = with_tokens(model, [1, 5])
    assert made.tokenizer is None and np.array_equal(made.tensor(ROWS[0]), model.tensor(ROWS[0])[[1, 5]])
