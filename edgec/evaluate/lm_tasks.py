"""HellaSwag, TruthfulQA and GSM8K by lm-eval's own tasks and metrics, on local files or the hub's data.

A local file takes the place of the hub's dataset: its rows are brought into the hub's schema and lm-eval does the rest.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from edgec.errors import EdgecError, ToolError
from edgec.evaluate.generation import greedy
from edgec.evaluate.perplexity import log_softmax
from edgec.evaluate.scorer import Scorer

TASKS = ("hellaswag", "truthfulqa_mc1", "truthfulqa_mc2", "gsm8k")
FEW_SHOT = 5  # GSM8K's examples: the first rows of a local file, which are then not asked
BOOTSTRAPS = 1000  # for the standard error of metrics that have no closed form
MAX_NEW = 256  # tokens of an answer where the task does not say

Rows = Sequence[Mapping[str, Any]]
Say = Callable[[str, int, int], None]


def lm_task(scorer: Scorer, task: str, rows: Rows | None, limit: int | None, say: Say) -> dict[str, Any]:
    """Metrics with standard errors, and what of the protocol lm-eval decides. rows None: the hub's data.

    Raises ToolError without lm-eval, EdgecError for rows of another form or a hub that cannot be reached.
    """
    try:
        from lm_eval import simple_evaluate
    except ImportError:
        raise ToolError(f'{task} is measured by lm-eval; install "edgec[evaluate]".') from None
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    spec: Any = task if rows is None else _on_local_data(task, local_splits(task, rows))
    model = _adapter(scorer, say)
    try:
        found = simple_evaluate(model, tasks=[spec], limit=limit, log_samples=False, bootstrap_iters=BOOTSTRAPS)
    except (ConnectionError, OSError) as error:
        if rows is not None:
            raise
        kind = type(error).__name__
        raise EdgecError(f"the hub's data for {task} cannot be had ({kind}); name a file with --data.") from None
    assert found is not None
    results = dict(found["results"][task])
    metrics = {}
    for key, value in results.items():
        name, _, kind = key.partition(",")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and kind:
            metrics[name if kind == "none" else f"{name} {kind}"] = float(value)
    samples = found["n-samples"][task]
    return {
        "metrics": metrics,
        "documents": int(samples["effective"]),
        "few_shot": int(found["n-shot"].get(task, 0) or 0),
        "version": f"lm-eval {version('lm_eval')}, {task} version {found['versions'].get(task)}",
    }


def _on_local_data(task: str, splits: Mapping[str, list[dict[str, Any]]]) -> Any:
    """lm-eval's task with these rows for the hub's."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager()
    changes: dict[str, Any] = {"custom_dataset": lambda **_: _dataset(splits)}
    if "train" not in splits:
        changes["training_split"] = None
    # A dictionary given for a task would be a task of its own, without the named one's prompts.
    return manager._factory.build(manager.task_index[task], overrides=changes, registry=manager.task_index)


def local_splits(task: str, rows: Rows) -> dict[str, list[dict[str, Any]]]:
    """Rows of a local file by split, in the schema of the hub's dataset. Raises EdgecError for rows of another form."""
    try:
        if task == "hellaswag":
            return {"validation": [_hellaswag(row) for row in rows]}
        if task == "gsm8k":
            problems = [{key: str(row[key]) for key in ("question", "answer")} for row in rows]
            if len(problems) <= FEW_SHOT:
                raise EdgecError(f"gsm8k wants more than {FEW_SHOT} problems: the first {FEW_SHOT} are its examples.")
            return {"train": problems[:FEW_SHOT], "test": problems[FEW_SHOT:]}
        return {"validation": [_truthfulqa(row) for row in rows]}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise EdgecError(f"the data are not of {task}'s form: {type(error).__name__} {error}.") from None


def _hellaswag(row: Mapping[str, Any]) -> dict[str, Any]:
    """The hub's row; a file that has `ctx` in one piece begins it with the activity."""
    known = {"endings": [str(e) for e in row["endings"]], "label": str(int(row["label"]))}
    if "ctx_a" in row:
        return known | {key: str(row[key]) for key in ("activity_label", "ctx_a", "ctx_b")}
    activity, colon, rest = str(row["ctx"]).partition(": ")
    if not colon:
        raise ValueError("ctx does not begin with an activity")
    return known | {"activity_label": activity, "ctx_a": rest, "ctx_b": ""}


def _truthfulqa(row: Mapping[str, Any]) -> dict[str, Any]:
    """The hub's row: choices and labels, the right answers first, as mc1's target is the first choice."""
    made: dict[str, Any] = {"question": str(row["question"])}
    for key in ("mc1_targets", "mc2_targets"):
        targets = row[key]
        pairs = zip(targets["choices"], targets["labels"], strict=True) if "choices" in targets else targets.items()
        ordered = sorted(((str(choice), int(label)) for choice, label in pairs), key=lambda pair: -pair[1])
        made[key] = {"choices": [choice for choice, _ in ordered], "labels": [label for _, label in ordered]}
    return made


def _dataset(splits: Mapping[str, list[dict[str, Any]]]) -> Any:
    from datasets import Dataset, DatasetDict

    # Through JSON: rows share one set of keys, and nothing but plain values.
    return DatasetDict({name: Dataset.from_list(json.loads(json.dumps(rows))) for name, rows in splits.items()})


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _adapter(scorer: Scorer, say: Say) -> Any:
    """The scorer as lm-eval's model."""
    from lm_eval.api.model import TemplateLM

    tokenizer = scorer.tokenizer

    class Adapter(TemplateLM):
        """Log-likelihoods of continuations, and greedy text."""

        @property
        def eot_token_id(self) -> int:
            found = tokenizer.bos_id if tokenizer.bos_id is not None else next(iter(tokenizer.eos_ids), 0)
            return int(found)

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
            if add_special_tokens is False:
                return list(tokenizer.backend.encode(string, add_special_tokens=False).ids)
            return tokenizer.encode(string)

        def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
            found: list[tuple[float, bool]] = []
            session, fed = scorer.session(), list[int]()
            kept: Any = None  # logits behind the last token fed of what is shared
            for done, (_strings, context, continuation) in enumerate(requests):
                say("answers", done, len(requests))
                whole = [*context, *continuation][-(scorer.context + 1) :]
                shared = whole[: len(whole) - len(continuation)] or whole[:1]
                if shared != fed:  # what both begin with, a task's examples mostly, stays in the cache
                    common = min(_common(shared, fed), len(shared) - 1)
                    session.rewind(common)
                    kept, fed = session.feed(shared[common:], keep=1), shared
                session.rewind(len(shared))
                wanted = whole[len(shared) :]
                logits = (
                    kept if len(wanted) < 2 else np.concatenate([kept, session.feed(wanted[:-1], keep=len(wanted))])
                )
                chances = log_softmax(logits.astype(np.float64))
                greedy_too = bool((chances.argmax(axis=1) == wanted).all())
                found.append((float(chances[np.arange(len(wanted)), wanted].sum()), greedy_too))
            return found

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
            raise NotImplementedError("no task here asks for whole documents; edgec measures text itself")

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            texts = []
            for done, request in enumerate(requests):
                say("answers", done, len(requests))
                context, options = request.args
                until = options.get("until") or []
                limit = int(options.get("max_gen_toks", MAX_NEW))
                texts.append(
                    greedy(scorer, tokenizer.encode(context), limit, [until] if isinstance(until, str) else until)
                )
            return texts

    return Adapter()
