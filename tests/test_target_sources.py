"""Every number of a shipped target says in a comment where it comes from, by a tag that the file's header explains."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from edgec.target import load_target, names, target_path

NUMBER = re.compile(r"(?<![\w.])[-+]?(?:0x[\da-f_]+|\d[\d_]*(?:\.\d+)?(?:e[-+]?\d+)?|inf|nan)(?!\w)", re.IGNORECASE)
TAG = re.compile(r"\[([A-Z])\]")
CHIPS = [name for name in names() if name != "host"]  # the machine that edgec runs on has nominal figures
FROM_DOCUMENTS = ["gap9", "stm32h743", "esp32s3"]  # planned and emitted, but no model of them was ever run


def leaves(table: Any) -> int:
    """Numbers of a parsed file, in tables and lists of any depth."""
    if isinstance(table, dict):
        return sum(map(leaves, table.values()))
    if isinstance(table, list):
        return sum(map(leaves, table))
    return int(isinstance(table, (int, float)) and not isinstance(table, bool))


def header_tags(text: str) -> set[str]:
    """Tags that the comment on top explains: `[P] published`."""
    header = text[: re.search(r"^(?!#)", text, re.MULTILINE).start()]  # type: ignore[union-attr]
    return set(TAG.findall(header.partition("Tags:")[2]))


def unsourced(text: str) -> list[str]:
    """Lines with a number and no explained tag behind it, and what is in no line alone."""
    tags, found, seen = header_tags(text), [], 0
    for line in text.splitlines():
        code, _, comment = re.sub(r'"[^"]*"', '""', line).partition("#")
        numbers = NUMBER.findall(code)
        seen += len(numbers)
        given = TAG.findall(comment)
        if numbers and not given:
            found.append(line)
        found += [f"{line}: [{tag}] is not explained" for tag in given if tag not in tags]
    total = leaves(tomllib.loads(text))
    return found + ([f"{total} numbers, {seen} of them read off lines"] if total != seen else [])


def unexplained(text: str) -> list[str]:
    """Lines with a number whose comment is tags alone, or too short to say what was read or computed from what."""
    found = []
    for line in text.splitlines():
        code, _, comment = re.sub(r'"[^"]*"', '""', line).partition("#")
        if NUMBER.search(code) and len(TAG.sub("", comment).strip()) < len("a call"):
            found.append(line)
    return found


@pytest.mark.parametrize("target", FROM_DOCUMENTS)
def test_what_was_not_measured_says_where_it_is_from(target: str) -> None:
    text = target_path(target).read_text()
    assert not unexplained(text)
    assert "M" not in header_tags(text)


@pytest.mark.parametrize(
    "line", ["more_cycles = 7", "more_cycles = 7  # [E]", "sizes = [1, 2]  # [D][S]  ", "x = 7 # [C] so"]
)
def test_a_tag_alone_is_found(line: str) -> None:
    text = target_path("gap9").read_text()
    assert unexplained(f"{text}\n{line}\n") == [line]


@pytest.mark.parametrize("target", CHIPS)
def test_figures_have_a_source(target: str) -> None:
    text = target_path(target).read_text()
    assert not unsourced(text)
    assert header_tags(text) <= set("PFSMCEDL")  # published, figure, source, measured, computed, estimate; data, papers
    assert load_target(target).clock_hz > 1e8


@pytest.mark.parametrize(
    "line",
    [
        "more_cycles = 7",
        "more_cycles = 7  # cycles",
        "more_cycles = 7  # [Z] who knows",
        "more_cycles = 7  # [M] measured and [X] more",
        "more_cycles = -7",
        "more_cycles = 0x10",
        "more_cycles = 0.5e3",
        "sizes = [1, 2]",
        "sizes = { small = 1, large = { most = 2.5 } }",
        "sizes = [\n    1,\n]",
        "[engine.nested.table]\ncycles = 3",
        "    indented = 3",
        'label = "# [M]" \ncycles = 3',
    ],
)
def test_a_figure_without_one_is_found(line: str) -> None:
    text = target_path("siracusa").read_text()
    assert unsourced(f"{text}\n{line}\n")


def test_words_are_no_figures() -> None:
    text = target_path("siracusa").read_text()
    assert not unsourced(f'{text}\nlevel_2 = "L1 of 256"\nkernels = ["w4", "w8"]\nup = true\n')
