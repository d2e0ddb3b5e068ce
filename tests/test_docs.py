"""README, CONTRIBUTING and docs/ name only what exists: paths, commands, options, links, make targets."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from edgec.cli import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TOP = ("edgec", "kernels", "templates", "targets", "tests", "docs", "examples", "benchmarks", ".ci")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join(map(re.escape, TOP))})/[\w./<>*-]*\w/?")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?<![\w./-])(?:\.venv/bin/)?edgec ([a-z]+)((?: [^\n`#|]*)?)")


def code(page: Path) -> str:
    """All code spans and blocks of a page."""
    return "\n".join(CODE.findall(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_paths(page: Path) -> None:
    """A path in backticks exists; <name> stands for any file."""
    for path in sorted(set(PATH.findall(code(page)))):
        if "<" in path:  # a folder that contributors may have to make
            continue
        assert (ROOT / path).exists() or list(ROOT.glob(path)), f"{page.name} names {path}, which does not exist"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links(page: Path) -> None:
    """A relative link leads to a file, its anchor to a heading."""
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name} links to {link}, which does not exist"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in slugs, f"{page.name} links to {link}, {target.name} has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands(page: Path) -> None:
    """A command `edgec X` and its options are part of the command line."""
    for name, rest in COMMAND.findall(code(page)):
        assert name in cli.commands, f"{page.name} shows edgec {name}, which is no command"
        command = cli.commands[name]
        words = rest.split()
        if isinstance(command, click.Group) and words:
            default = getattr(command, "default", None)
            words = words if default is None or words[0] in command.commands else [default, *words]
            assert words[0] in command.commands, f"{page.name} shows edgec {name} {words[0]}, which is no command"
            command = command.commands[words[0]]
        known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
        for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", rest):
            assert option in known, f"{page.name} shows {option} of edgec {name}, which it does not take"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_make_targets(page: Path) -> None:
    """A `make X` of the checkout is a target of the Makefile, or of the emitted project's."""
    makefiles = (ROOT / "Makefile").read_text() + (ROOT / "templates" / "Makefile.j2").read_text()
    known = set(re.findall(r"^([a-z][\w-]*):", makefiles, re.MULTILINE))
    for name in re.findall(r"(?<![\w./-])make ([a-z][\w-]*)", code(page)):
        assert name in known, f"{page.name} shows make {name}"


def test_every_command_is_documented() -> None:
    """README shows each command of the command line."""
    text = code(ROOT / "README.md")
    for name in cli.commands:
        assert f"edgec {name}" in text, name


def test_every_op_has_its_formula() -> None:
    """docs/numerics.md has a row for each op file."""
    text = (ROOT / "docs" / "numerics.md").read_text(encoding="utf-8")
    import edgec.ops

    for name in edgec.ops.names():
        tail = edgec.ops.find(name).module.removeprefix("matmul_w4a8")  # a family has one row for its widths
        assert f"`{name}`" in text or f"`matmul_w2a8{tail}` to `matmul_w8a8{tail}`" in text, name


def test_no_formula_of_an_op_that_is_gone() -> None:
    """The first column of the ops' table in docs/numerics.md names ops."""
    import edgec.ops

    table = (ROOT / "docs" / "numerics.md").read_text(encoding="utf-8").split("## Ops")[1]
    for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE):
        assert set(re.findall(r"`(\w+)`", row)) <= set(edgec.ops.names()), row


def test_every_target_key_is_documented() -> None:
    """docs/targets.md names every key of every shipped target."""
    text = (ROOT / "docs" / "targets.md").read_text(encoding="utf-8")
    for target in (ROOT / "targets").glob("*.toml"):
        for key in re.findall(r"^(\w+) =", target.read_text(encoding="utf-8"), re.MULTILINE):
            assert f"`{key}`" in text, f"{target.name}: {key}"


def test_every_report_key_is_documented() -> None:
    """docs/output.md names every key of the report's schema."""
    import json

    schema = json.loads((ROOT / "edgec" / "report" / "schema.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs" / "output.md").read_text(encoding="utf-8")
    for key in schema["properties"]:
        assert f"`{key}`" in text, key
