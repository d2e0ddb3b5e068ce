"""TriviaQA, closed and open book, as the thesis scores it: greedy answers, normalised, matched in three tiers.

Prompt: "Question: ... Answer:", open book "Context: ... Question: ... Answer:" with the shortest context. An answer is
what the model writes until a newline or its end token, at most `max_new` tokens. Both sides are normalised (lower case,
punctuation and the articles a, an, the removed, white space collapsed); an answer is right by

    exact       it equals one of the accepted answers
    substring   one of the accepted answers is part of it
    words       it holds at least 80 % of the words of one

in this order; each tier's share counts those that no tier before took.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgec.errors import EdgecError
from edgec.evaluate.generation import greedy
from edgec.evaluate.scorer import Scorer

TIERS = ("exact", "substring", "words")
WORDS = 0.8
_NO_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "‘’´`“”–—", " "))


def normalised(text: str) -> str:
    """Lower case, without punctuation and articles, single spaces."""
    words = text.lower().translate(_NO_PUNCTUATION).split()
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def tier_of(answer: str, accepted: Sequence[str]) -> str | None:
    """The first tier by which an answer is right, or None."""
    given = normalised(answer)
    known = [found for found in map(normalised, accepted) if found]
    if given in known:
        return "exact"
    padded = f" {given} "
    if any(f" {one} " in padded for one in known):
        return "substring"
    words = set(given.split())
    if any(len(words & set(one.split())) >= WORDS * len(set(one.split())) for one in known):
        return "words"
    return None


def documents(rows: Sequence[Mapping[str, Any]], open_book: bool, name: str) -> list[tuple[str, list[str]]]:
    """(prompt, accepted answers) of every row. Raises EdgecError for rows without a question, answers or a context."""
    found = []
    for number, row in enumerate(rows, 1):
        answers = row.get("golden_answers") or row.get("aliases") or row.get("answers")
        question = row.get("question")
        if (
            not isinstance(question, str)
            or not isinstance(answers, list)
            or not all(isinstance(a, str) for a in answers)
        ):
            raise EdgecError(
                f"{name}, line {number}: a question and a list of answers (golden_answers, aliases) are wanted."
            )
        prompt = f"Question: {question.strip()} Answer:"
        if open_book:
            contexts = [row["context"]] if isinstance(row.get("context"), str) else row.get("contexts")
            if not contexts:
                raise EdgecError(f"{name}, line {number}: there is no context; triviaqa-open wants one.")
            prompt = f"Context: {min(contexts, key=len).strip()} {prompt}"
        found.append((prompt, answers))
    return found


def triviaqa(
    scorer: Scorer,
    rows: Sequence[Mapping[str, Any]],
    open_book: bool,
    name: str,
    max_new: int,
    say: Callable[[str, int, int], None],
) -> dict[str, float]:
    """Shares of right answers: `accuracy` over all tiers, then each tier, and the standard error of accuracy."""
    wanted = documents(rows, open_book, name)
    counts = dict.fromkeys(TIERS, 0)
    for done, (prompt, accepted) in enumerate(wanted):
        say("questions", done, len(wanted))
        said = greedy(scorer, scorer.tokenizer.encode(prompt), max_new, ("\n",), min_new=1, skip_blanks=True)
        tier = tier_of(said, accepted)
        if tier:
            counts[tier] += 1
    total = len(wanted)
    right = sum(counts.values()) / total
    error = (right * (1 - right) / max(1, total - 1)) ** 0.5
    return {"accuracy": right, "accuracy_stderr": error} | {tier: count / total for tier, count in counts.items()}
