"""Questions: matching tiers by hand, generation and multiple choice against direct computation, bad data refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgec.compress.calibration import rows_of
from edgec.errors import EdgecError
from edgec.evaluate.generation import greedy
from edgec.evaluate.lm_tasks import lm_task, local_splits
from edgec.evaluate.perplexity import log_softmax
from edgec.evaluate.scorer import FloatScorer, Scorer, quantised_scorer
from edgec.evaluate.tasks import evaluate_questions
from edgec.evaluate.triviaqa import documents, normalised, tier_of, triviaqa
from edgec.frontend.checkpoint import TextTokenizer
from tests.tiny_models import checkpoint, config

pytest.importorskip("torch", reason="torch runs the float model")


def quiet(text: str, done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def scorers() -> list[Scorer]:
    source = checkpoint(config(vocab_size=97), 4)
    assert source.tokenizer is not None
    return [FloatScorer(source, source.tokenizer), quantised_scorer(source, source.tokenizer, 200)]


def test_normalised() -> None:
    assert normalised('  The Beatles\' "Help!", a song ') == "beatles help song"


@pytest.mark.parametrize(
    ("answer", "accepted", "tier"),
    [
        (" Mark Twain.", ["mark twain"], "exact"),
        ("It was the great Mark Twain", ["Mark Twain"], "substring"),
        ("Twainesque", ["Twain"], None),  # a part of a word is no match
        ("Samuel wrote Langhorne Clemens Junior", ["Samuel Langhorne Clemens Jr Junior"], "words"),  # 4 of 5 words
        ("Samuel wrote Langhorne", ["Samuel Langhorne Clemens"], None),  # 2 of 3
        ("", ["x"], None),
        ("anything", ["the", "!"], None),  # an answer of articles and punctuation accepts nothing
        ("42", ["42"], "exact"),
    ],
)
def test_tiers(answer: str, accepted: list[str], tier: str | None) -> None:
    assert tier_of(answer, accepted) == tier


def test_prompts() -> None:
    rows = [{"question": "Who? ", "aliases": ["I"], "contexts": ["a long context", "short"]}]
    assert documents(rows, False, "f") == [("Question: Who? Answer:", ["I"])]
    assert documents(rows, True, "f") == [("Context: short Question: Who? Answer:", ["I"])]
    for row, word in (({"question": "x"}, "line 1"), ({"question": "x", "aliases": [1]}, "aliases")):
        with pytest.raises(EdgecError, match=word):
            documents([row], False, "f")
    with pytest.raises(EdgecError, match="no context"):
        documents([{"question": "x", "aliases": ["y"]}], True, "f")


def slowly(scorer: Scorer, prompt: Sequence[int], count: int) -> list[int]:
    """Greedy tokens, the whole sequence computed again for each."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(scorer.logits(tokens)[-1].argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("which", [0, 1])
def test_greedy_text_is_that_of_whole_sequences(scorers: list[Scorer], which: int) -> None:
    scorer = scorers[which]
    decode = scorer.tokenizer.backend.decode
    for prompt in ([5], [9, 8, 7, 90, 3]):
        wanted = decode([*prompt[-1:], *slowly(scorer, prompt, 6)]).removeprefix(decode(prompt[-1:]))
        assert greedy(scorer, prompt, 6) == wanted
    stop = wanted.split()[2]
    assert greedy(scorer, prompt, 6, (stop,)) == wanted[: wanted.index(stop)]


def test_triviaqa_counts_tiers(scorers: list[Scorer]) -> None:
    scorer = scorers[0]
    said = greedy(scorer, scorer.tokenizer.encode("Question: Once Answer:"), 4, ("\n",))
    rows = [{"question": "Once", "golden_answers": [said]}, {"question": "Once", "golden_answers": ["qqq"]}]
    found = triviaqa(scorer, rows, False, "f", 4, quiet)
    assert found["accuracy"] == found["exact"] == 0.5
    assert found["accuracy_stderr"] == pytest.approx(0.5)


HELLASWAG = [
    {"ctx": "Cooking: There was a little girl", "endings": ["the end.", "a day.", "time", "who was"], "label": 3},
    {
        "activity_label": "Day",
        "ctx_a": "One day",
        "ctx_b": "she",
        "endings": ["was", "little girl", "a", "b"],
        "label": "0",
    },
]
TRUTHFUL = [
    {"question": "What was it?", "mc1_targets": {"a": 0, "the day": 1}, "mc2_targets": {"a": 0, "day": 1, "time": 1}},
    {"question": "Who was there?"}
    | {key: {"choices": ["girl", "little"], "labels": [1, 0]} for key in ("mc1_targets", "mc2_targets")},
]


def chances(scorer: Scorer, context: str, answers: list[str]) -> list[float]:
    """Log-likelihood of each answer behind a context, by whole sequences."""
    found = []
    for answer in answers:
        front, whole = (scorer.tokenizer.encode(text) for text in (context, f"{context} {answer}"))
        table = log_softmax(scorer.logits(whole[:-1]).astype(np.float64))
        found.append(sum(table[i - 1, whole[i]] for i in range(len(front), len(whole))))
    return found


@pytest.mark.parametrize("which", [0, 1])
def test_hellaswag_is_the_likeliest_ending(scorers: list[Scorer], which: int) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    scorer = scorers[which]
    queries = ["Cooking: There was a little girl", "Day: One day She"]
    right = [
        int(np.argmax(chances(scorer, query, row["endings"]))) == int(row["label"])
        for query, row in zip(queries, HELLASWAG, strict=True)
    ]
    found = lm_task(scorer, "hellaswag", HELLASWAG, None, quiet)
    assert found["metrics"]["acc"] == pytest.approx(np.mean(right))
    assert found["documents"] == 2 and "lm-eval" in found["version"]
    assert lm_task(scorer, "hellaswag", HELLASWAG, 1, quiet)["metrics"]["acc"] == pytest.approx(float(right[0]))


def test_truthfulqa(scorers: list[Scorer]) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    splits = local_splits("truthfulqa_mc1", TRUTHFUL)["validation"]
    assert splits[0]["mc1_targets"] == {"choices": ["the day", "a"], "labels": [1, 0]}
    for task in ("truthfulqa_mc1", "truthfulqa_mc2"):
        found = lm_task(scorers[0], task, TRUTHFUL, None, quiet)
        assert 0 <= found["metrics"]["acc"] <= 1 and "acc_stderr" in found["metrics"]


def test_gsm8k_takes_its_examples_from_the_file(scorers: list[Scorer]) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    rows = [{"question": f"One and {i}?", "answer": f"It is #### {i + 1}"} for i in range(7)]
    found = lm_task(scorers[0], "gsm8k", rows, None, quiet)
    assert (found["documents"], found["few_shot"]) == (2, 5)
    assert found["metrics"]["exact_match strict-match"] == 0
    with pytest.raises(EdgecError, match="more than 5"):
        local_splits("gsm8k", rows[:5])


@pytest.mark.parametrize(
    ("task", "rows"),
    [
        ("hellaswag", [{"ctx": "no activity", "endings": ["a"], "label": 0}]),
        ("hellaswag", [{"question": "x"}]),
        ("truthfulqa_mc1", [{"question": "x", "mc1_targets": {"a": 1}}]),
        ("gsm8k", [{"question": "x"}]),
    ],
)
def test_rows_of_another_form_are_refused(task: str, rows: list) -> None:
    with pytest.raises(EdgecError, match=f"not of {task}'s form"):
        local_splits(task, rows)


def test_data_files(tmp_path: Path) -> None:
    assert rows_of(b'{"a": 1}\n\n{"a": 2}\n', "f") == rows_of(b'[{"a": 1}, {"a": 2}]', "f")
    for raw in (b"", b"[]", b"[1]", b"{", b"\xff"):
        with pytest.raises(EdgecError, match=r"^f "):
            rows_of(raw, "f")
    with pytest.raises(EdgecError, match="cannot be read"):
        evaluate_questions("stories", "triviaqa-open", str(tmp_path / "no.jsonl"), None, 5, "float", None, quiet)
    with pytest.raises(EdgecError, match="needs --data"):
        evaluate_questions("stories", "triviaqa-open", None, None, 5, "float", None, quiet)


def test_protocol_of_the_embedded_model(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps({"question": "Who?", "golden_answers": ["Lily"]}) + "\n")
    found, folder = evaluate_questions("stories", "triviaqa-closed", str(file), 1, 5, "float", None, quiet)
    assert folder is None
    assert found.protocol["documents"] == 1 and found.protocol["max_new_tokens"] == 5
    assert found.protocol["arithmetic"] == "float32" and len(found.protocol["sha256"]) == 64
    assert set(found.metrics) == {"accuracy", "accuracy_stderr", "exact", "substring", "words"}


class Scripted:
    """A scorer that says given tokens, whatever it reads."""

    context, arithmetic = 64, "none"

    def __init__(self, tokenizer: TextTokenizer, script: list[int]) -> None:
        self.tokenizer, self.script, self.position = tokenizer, script, 0

    def session(self) -> Scripted:
        return self

    def feed(self, tokens: Sequence[int], keep: int) -> np.ndarray:
        self.position += len(tokens)
        logits = np.zeros((1, 97), np.float32)
        said = self.script.pop(0)
        logits[0, said], logits[0, said + 1] = 2, 1  # the next best is the next id
        return logits


def test_an_answer_begins_with_something(scorers: list[Scorer]) -> None:
    tokenizer = replace(scorers[0].tokenizer, eos_ids=(7,))
    assert greedy(Scripted(tokenizer, [7, 9]), [1], 4) == ""
    assert greedy(Scripted(tokenizer, [7, 7]), [1], 4, min_new=1).strip() == tokenizer.decode([8]).strip()


class Blanks:
    """A tokenizer's backend whose token 1 is an end of line, others letters."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return "".join("\n" if i == 1 else chr(ord("a") + i) for i in ids)


def test_a_stop_string_may_wait_for_text(scorers: list[Scorer]) -> None:
    tokenizer = replace(scorers[0].tokenizer, backend=Blanks(), eos_ids=())
    assert greedy(Scripted(tokenizer, [1, 2, 3, 1, 4]), [0], 5, ("\n",)) == ""
    assert greedy(Scripted(tokenizer, [1, 2, 3, 1, 4]), [0], 5, ("\n",), skip_blanks=True) == "\ncd"
