"""A tokenizer with fewer tokens, numbered anew in the old order: every table of its tokenizer.json that holds an id."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgec.compress.token_parts import merge_pairs, spells_everything
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import TextTokenizer

PROBE = "Ünïcödé \t漢字 🙂\x00\x7f\u200b e\u0301\n\n x  y"  # what no trimming text has: it must come back all the same


def trimmed_tokenizer(tokenizer: TextTokenizer, ids: Sequence[int]) -> TextTokenizer:
    """The tokenizer with the tokens `ids` alone; token ids[i] becomes i. `ids` ascend.

    Raises RecipeError if BOS or an end token is not among them, or if this tokenizer cannot be numbered so.
    """
    from tokenizers import Tokenizer

    old = tokenizer.backend
    place = {token: new for new, token in enumerate(ids)}
    gone = [i for i in (tokenizer.bos_id, *tokenizer.eos_ids) if i is not None and i not in place]
    if gone:
        raise RecipeError(f"token {gone[0]}, with which texts begin or end, is not among the {len(ids):,} that stay.")
    wanted = {token: place[i] for token, i in old.get_vocab(with_added_tokens=True).items() if i in place}
    data = json.loads(old.to_str())
    data["model"] = _model(data["model"], wanted)
    added = [token for token in data["added_tokens"] if token["id"] in place]
    data["added_tokens"] = [token | {"id": place[token["id"]]} for token in added]
    data["post_processor"] = _processor(data["post_processor"], place)
    made = Tokenizer.from_str(json.dumps(data))
    made.encode_special_tokens = old.encode_special_tokens
    if made.get_vocab(with_added_tokens=True) != wanted or len(wanted) != len(ids):
        raise RecipeError("this tokenizer's tokens cannot be numbered anew in their old order; it cannot be trimmed.")
    bos = None if tokenizer.bos_id is None else place[tokenizer.bos_id]
    return replace(tokenizer, backend=made, bos_id=bos, eos_ids=tuple(place[i] for i in tokenizer.eos_ids))


def check_same_text(old: TextTokenizer, new: TextTokenizer, ids: Sequence[int], text: str) -> tuple[int, int, float]:
    """How many tokens the text has in `old` and in `new`, and the share of those in `old` that are left.

    Raises RecipeError unless a text of which all tokens are left has the same ones, and any text, also one of rare
    characters, the same meaning. Neither can happen for the kinds of tokenizers that compress/token_parts.py knows;
    this is the proof for the one at hand.
    """
    place = {token: row for row, token in enumerate(ids)}
    lossless = spells_everything(json.loads(new.backend.to_str())["model"])
    before: list[int] = []
    made: list[int] = []
    share = 1.0
    for sample in (PROBE, text):
        before, made = (list(t.backend.encode(sample, add_special_tokens=False).ids) for t in (old, new))
        left = [place[token] for token in before if token in place]
        share = len(left) / max(len(before), 1)
        same = made == left if share == 1 else not lossless or new.decode(made) == old.decode(before)
        if not same:
            raise RecipeError("the trimmed tokenizer reads a text differently; this tokenizer cannot be trimmed.")
    return len(before), len(made), share


def _model(model: Mapping[str, Any], wanted: Mapping[str, int]) -> dict[str, Any]:
    """Vocabulary and merges of what is left; a merge stays where both parts and the result do, in its old order."""
    if model["type"] == "Unigram":
        kept = [pair for pair in model["vocab"] if pair[0] in wanted]
        unknown = None if model["unk_id"] is None else wanted[model["vocab"][model["unk_id"]][0]]
        return {**model, "vocab": kept, "unk_id": unknown}
    made = {**model, "vocab": {token: wanted[token] for token in model["vocab"] if token in wanted}}
    if model["type"] == "BPE":
        vocab = made["vocab"]
        pairs = [(a, b) for a, b in merge_pairs(model) if a in vocab and b in vocab and a + b in vocab]
        made["merges"] = [list(pair) for pair in pairs]
    return made


def _processor(processor: Any, place: Mapping[int, int]) -> Any:
    """A post-processor with new ids, wherever in it they are."""
    if processor is None:
        return None
    made = dict(processor)
    if made["type"] == "Sequence":
        made["processors"] = [_processor(part, place) for part in made["processors"]]
    elif made["type"] == "TemplateProcessing":
        tokens = made["special_tokens"].items()
        made["special_tokens"] = {name: token | {"ids": [place[i] for i in token["ids"]]} for name, token in tokens}
    else:
        for end in ("sep", "cls"):  # of BertProcessing and RobertaProcessing
            if end in made:
                made[end] = [made[end][0], place[made[end][1]]]
    return made
