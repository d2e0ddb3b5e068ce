"""A trimmed vocabulary and what comes after it: more stages, teachers, folders, recipes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgec.compress.counts import dry_run
from edgec.compress.depth import Depth
from edgec.compress.pipeline import compress
from edgec.compress.quantize import QuantizeBlocks
from edgec.compress.stage import Calibration, Work
from edgec.compress.vocab import Vocab, settled
from edgec.compress.vocabulary import ROWS, ids_of, original_tokens, with_tokens_of
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.load import load_checkpoint
from edgec.recipe import Recipe, load_recipe
from tests.compress.small_tokenizers import text_of
from tests.compress.vocab_cases import model_with, trim


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(text_of(0, 60))
    return tmp_path / "text.txt"


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
