"""The command line: usage, exit codes, what goes to stdout and stderr, and that --help is quick."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from edgec import cli as cli_module
from edgec.cli import cli, default_out
from edgec.console import Commands, Terminated
from edgec.errors import EdgecError, MismatchError, OutputError
from edgec.output import MARK

ROOT = Path(__file__).parents[1]


def run(*args: str):
    return CliRunner().invoke(cli, list(args))


class FakeReport:
    """As much of a Report as the commands touch."""

    target = "siracusa"

    def __init__(self, verdict: str) -> None:
        self.verdict = verdict
        self.deficits = [SimpleNamespace(memory="L1", bytes=1234)] if verdict == "does_not_fit" else []
        self.memory = [SimpleNamespace(name="L3", used=5000, on_chip=False)]

    def to_json(self) -> str:
        return json.dumps({"verdict": self.verdict}) + "\n"


@pytest.fixture
def fake(monkeypatch):
    """Replaces compiler, artifact and chain; `fake.calls` records what the commands asked for."""
    state = SimpleNamespace(verdict="fits_on_chip", raises=None, verify_raises=None, calls=[])
    artifact = SimpleNamespace(meta={}, path=Path("out/x"))

    def build(model, **options):
        state.calls.append(("build", model, options))
        options["progress"]("load")
        if state.raises:
            raise state.raises
        return artifact

    def verify(given, legs, *, text=None, progress=None):
        state.calls.append(("verify", legs, text))
        if state.verify_raises:
            raise state.verify_raises
        backend = {"tensors": 7, "mismatches": 0, "first_divergence": None}
        return {"backends": {"host": backend}, "quality": [], "skipped": {"float": "no checkpoint"}}

    compiler, chain, opened = (
        ModuleType("edgec.compiler"),
        ModuleType("edgec.verify.chain"),
        ModuleType("edgec.artifact"),
    )
    compiler.build = build
    chain.verify, chain.LEGS = verify, ("float", "simulator", "host", "rv32")
    opened.Artifact = SimpleNamespace(load=lambda path: artifact)
    import edgec
    import edgec.report.report as report_module
    import edgec.report.text as text_module
    import edgec.verify

    for package, name, module in (
        (edgec, "compiler", compiler),
        (edgec, "artifact", opened),
        (edgec.verify, "chain", chain),
    ):
        monkeypatch.setitem(sys.modules, f"{package.__name__}.{name}", module)
        monkeypatch.setattr(package, name, module, raising=False)
    monkeypatch.setattr(report_module, "report_of", lambda given: FakeReport(state.verdict))
    monkeypatch.setattr(text_module, "plain_text", lambda report: f"verdict {report.verdict}\n")
    return state


def test_help_is_quick_and_imports_nothing_heavy():
    best = 9.0
    for _ in range(5):  # the fastest counts: other work on the machine must not fail this
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", "from edgec.cli import main; main()", "--help"],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        best = min(best, time.perf_counter() - start)
        assert done.returncode == 0 and "Exit codes" in done.stdout
    assert best < 0.3
    code = "import sys, edgec.cli; print(sorted({'numpy','torch','transformers','rich','jinja2'} & set(sys.modules)))"
    heavy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert heavy.stdout.strip() == "[]"


def test_sigterm_leaves_what_an_interrupt_leaves(tmp_path: Path) -> None:
    """A service manager's signal: the temporary folder is gone, the older output is there, one sentence, 128 + 15."""
    out = tmp_path / "out"
    out.mkdir()
    (out / MARK).write_text("old")
    program = (
        "import time, click\nfrom pathlib import Path\nfrom edgec.console import Commands\n"
        "from edgec.output import replaced_folder\n"
        "@click.group(cls=Commands)\ndef main(): pass\n@main.command()\ndef work():\n"
        f"    with replaced_folder(Path({str(out)!r})):\n        print('ready', flush=True)\n        time.sleep(60)\n"
        "main()\n"
    )
    command = [sys.executable, "-c", program, "work"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        assert len(list(tmp_path.iterdir())) == 2
        process.terminate()
        assert process.wait(30) == 143
        assert process.stderr.read().strip() == "error: terminated"
    assert [p.name for p in tmp_path.iterdir()] == ["out"] and (out / MARK).read_text() == "old"


@pytest.mark.parametrize(
    "args",
    [
        ("build", "--recipe", "r.toml", "--bits", "4"),
        ("build", "--require", "speed"),
        ("build", "--bits", "four"),
        ("nothing",),
        ("simulate", "out", "--tokens", "3"),
        ("simulate", "out", "--prompt", "x", "--tokens", "0"),
        ("simulate", "out", "--prompt", "x", "--tokens", "1", "--top-p", "0"),
        ("verify", "out", "--backend", "silicon"),
        ("report", "out", "--format", "pdf"),
    ],
)
def test_usage_errors_exit_with_2(args):
    result = run(*args)
    assert result.exit_code == 2
    assert "Error: " in result.stderr and not result.stdout


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (
            ("build", "--target", "nowhere"),
            "there is no target 'nowhere'; known: esp32s3, gap9, host, siracusa",
        ),
        (("build", "--target", "missing.toml"), "missing.toml cannot be read"),
        (("build", "--recipe", "missing.toml"), "recipe missing.toml cannot be read"),
        (("build", "--bits", "9"), "quantize.bits is 9; weights have 2 to 8 bits."),
        (("target", "show", "nowhere"), "there is no target 'nowhere'"),
        (("op", "show", "matmul_w4a9"), "there is no op 'matmul_w4a9'; did you mean matmul_w4a8?"),
    ],
)
def test_bad_input_is_one_sentence_and_2(args, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*args)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ") and sentence in result.stderr
    assert result.stderr.count("\n") == 1 and not result.stdout


@pytest.mark.parametrize("command", ("verify", "report", "simulate"))
def test_a_folder_that_is_not_ours(command, tmp_path):
    more = ("--prompt", "x", "--tokens", "1") if command == "simulate" else ()
    result = run(command, str(tmp_path), *more)
    assert result.exit_code == 2 and "was not built by edgec" in result.stderr


@pytest.mark.parametrize(
    ("verdict", "more", "code", "sentence"),
    [
        ("fits_on_chip", (), 0, ""),
        ("fits_on_chip", ("--require", "on-chip"), 0, ""),
        ("needs_l3", (), 0, ""),
        ("needs_l3", ("--require", "on-chip"), 3, "--require on-chip is not met: 5,000 B lie in L3."),
        ("does_not_fit", (), 3, "the model does not fit siracusa: it lacks 1,234 B of L1."),
    ],
)
@pytest.mark.parametrize("as_json", (False, True))
def test_build_exit_codes(fake, verdict, more, code, sentence, as_json):
    fake.verdict = verdict
    result = run("build", *more, *(["--json"] if as_json else []))
    assert result.exit_code == code
    assert result.stderr == (f"error: {sentence}\n" if sentence else "")
    if as_json:
        assert json.loads(result.stdout) == {"verdict": verdict}
    else:
        assert result.stdout == f"verdict {verdict}\n\nwrote out/stories-siracusa\n"


def test_build_passes_its_options_on(fake):
    run(
        "build", "m.gguf", "--target", "host", "--bits", "3", "--group-size", "32", "--context", "9", "--tokenizer", "t"
    )
    ((_, model, options),) = fake.calls
    assert (model, options["target"], options["out"], options["tokenizer"]) == (
        "m.gguf",
        "host",
        Path("out/m-host"),
        "t",
    )
    recipe = options["recipe"]
    assert (recipe.quantize.bits, recipe.quantize.group_size, recipe.build.context) == (3, 32, 9)


def test_build_verifies_what_fits(fake):
    assert run("build", "--verify").exit_code == 0
    assert fake.calls[-1] == ("verify", ["float", "simulator", "host", "rv32"], None)
    fake.calls.clear()
    fake.verdict = "does_not_fit"
    assert run("build", "--verify").exit_code == 3
    assert [c[0] for c in fake.calls] == ["build"]


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (EdgecError("no."), 2, "no."),
        (MismatchError("differs."), 4, "differs."),
        (OSError(errno.ENOSPC, "No space left on device", "out/x"), 2, "out/x: the disk is full."),
        (PermissionError(errno.EACCES, "Permission denied", "out/x"), 2, "out/x: permission denied."),
        (MemoryError(), 2, "this machine has too little memory for the model."),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Terminated(), 143, "terminated"),
        (ValueError("odd"), 70, "this is a bug of edgec: ValueError: odd"),
        (OSError(errno.ESTALE, "stale"), 70, "this is a bug of edgec: OSError"),
    ],
)
def test_errors(fake, error, code, sentence):
    fake.raises = error
    result = run("build")
    assert result.exit_code == code
    assert f"error: {sentence}" in result.stderr and not result.stdout
    assert ("Traceback" in result.stderr) == (code == 70)
    result = run("build", "--json")
    assert result.exit_code == code
    document = json.loads(result.stdout)
    assert document["exit_code"] == code and document["error"].startswith(sentence)


def test_usage_errors_with_json_are_json():
    result = run("build", "--bits", "four", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["exit_code"] == 2 and not result.stderr


def test_verify(fake):
    result = run("verify", "out/x")
    assert result.exit_code == 0
    assert result.stdout == "host: 7 tensors compared, no mismatch\nfloat: skipped, no checkpoint\n"
    run("verify", "out/x", "--backend", "rv32", "--text", "t.txt")
    assert fake.calls[-1] == ("verify", ["rv32"], Path("t.txt"))
    assert json.loads(run("verify", "out/x", "--json").stdout)["backends"]["host"]["tensors"] == 7
    fake.verify_raises = MismatchError("rv32 differs.")
    assert run("verify", "out/x").exit_code == 4


def test_report_formats(fake):
    assert run("report", "out/x").stdout == "verdict fits_on_chip\n"
    assert json.loads(run("report", "out/x", "--format", "json").stdout) == {"verdict": "fits_on_chip"}


def test_targets_and_ops_are_shown():
    assert {"host", "siracusa"} <= {line.split()[0] for line in run("target", "list").stdout.splitlines()}
    shown = run("target", "show", "siracusa").stdout
    assert "MRAM" in shown and "L3>L2" in shown and "4,194,304" in shown
    assert "matmul_w4a8" in run("op", "list").stdout
    card = run("op", "show", "matmul_w2a8").stdout
    for expected in (
        "edgec/ops/matmul_w4a8.py",
        "kernels/matmul_w4a8/matmul_w4a8_generic.c",
        "edgec/memory/tiling/matmul_w4a8.py",
        "x_sums",
    ):
        assert expected in card
    assert "edgec/memory/tiling/whole.py" in run("op", "show", "add").stdout


@pytest.mark.parametrize(
    ("model", "target", "out"),
    [
        ("stories", "siracusa", "out/stories-siracusa"),
        ("a/b/model.q8.gguf", "host", "out/model.q8-host"),
        ("org/SmolLM-1.3", "boards/mine.toml", "out/SmolLM-1.3-mine"),
        ("./folder/", "host", "out/folder-host"),
    ],
)
def test_default_out(model, target, out):
    assert default_out(model, target) == Path(out)


def test_main_is_the_group_and_nesting_keeps_exit_codes(monkeypatch):
    @click.group(cls=Commands)
    def group() -> None:
        pass

    @group.command()
    def bad() -> None:
        raise OutputError("no folder.")

    with pytest.raises(OutputError):
        group.main(["bad"], standalone_mode=False)
    monkeypatch.setattr(sys, "argv", ["edgec", "--version"])
    with pytest.raises(SystemExit) as ended:
        cli_module.main()
    assert ended.value.code == 0
