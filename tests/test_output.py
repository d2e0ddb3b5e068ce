"""Output folders: whole or not at all, whatever goes wrong and whenever."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgec.errors import OutputError
from edgec.output import MARK, expect_folder, replaced_folder, write_file, write_files


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder that edgec built before."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / MARK).write_text("old")
    (folder / "notes.txt").write_text("kept")
    return folder


def fill(folder: Path) -> None:
    write_file(folder / MARK, "new")
    write_file(folder / "deep/er/file.bin", b"\0\1")


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def sentence(caught: pytest.ExceptionInfo[OutputError]) -> str:
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    return str(caught.value)


def test_a_new_folder(tmp_path: Path) -> None:
    with replaced_folder(tmp_path / "a/b/out") as folder:
        fill(folder)
        assert not (tmp_path / "a/b/out").exists()
    assert content(tmp_path / "a/b/out") == {MARK: b"new", "deep/er/file.bin": b"\0\1"}
    assert [p.name for p in (tmp_path / "a/b").iterdir()] == ["out"]
    assert (tmp_path / "a/b/out").stat().st_mode & 0o777 == 0o755


def test_an_old_folder_is_replaced_as_a_whole(out: Path) -> None:
    with replaced_folder(out) as folder:
        fill(folder)
        assert content(out)[MARK] == b"old"
    assert content(out) == {MARK: b"new", "deep/er/file.bin": b"\0\1"}
    assert [p.name for p in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "error", [RuntimeError("bug"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")]
)
def test_an_error_in_the_middle_leaves_the_old_one(out: Path, error: BaseException) -> None:
    before = content(out)
    with pytest.raises((type(error), OutputError)), replaced_folder(out) as folder:
        fill(folder)
        raise error
    assert content(out) == before
    assert [p.name for p in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("failing", [1, 2])
def test_an_exchange_that_fails_leaves_the_old_one(out: Path, failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(out)
    calls = []
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == failing:
            raise OSError(errno.EBUSY, "Device or resource busy")
        real(source, target)

    with pytest.raises(OutputError, match="busy") as caught, replaced_folder(out) as folder:
        (folder / MARK).write_text("new")
        monkeypatch.setattr(os, "replace", replace)
    sentence(caught)
    assert content(out) == before
    assert [p.name for p in out.parent.iterdir()] == ["out"]


class Full:
    """A file on a disk with room for one byte more."""

    def __init__(self, path: Path) -> None:
        self.file = io.FileIO(path, "w")

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        self.file.write(data[:1])
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(out)
    monkeypatch.setattr(Path, "open", lambda path, mode: Full(path))
    with pytest.raises(OutputError, match="No space left on device") as caught, replaced_folder(out) as folder:
        fill(folder)
    monkeypatch.undo()
    sentence(caught)
    assert content(out) == before
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.txt"
    write_file(path, "old")
    monkeypatch.setattr(Path, "open", lambda path, mode: Full(path))
    with pytest.raises(OutputError, match=r"file\.txt cannot be written"):
        write_file(path, "new")
    monkeypatch.undo()
    assert content(tmp_path) == {"file.txt": b"old"}


def test_pieces_are_one_file_and_none_where_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_file(path, iter(("ä", "", "b\n")))
    assert path.read_text(encoding="utf-8") == "äb\n"

    def pieces() -> Iterator[str]:
        yield "new"
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OutputError, match="Input/output error"):
        write_file(path, pieces())
    assert content(tmp_path) == {"file.txt": "äb\n".encode()}


@pytest.mark.parametrize("kind", ["file", "foreign folder"])
def test_what_is_not_ours_is_left_alone(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match="was not built by edgec") as caught, replaced_folder(out):
        raise AssertionError("never entered")
    sentence(caught)
    assert "mine" in (out if kind == "file" else out / "thesis.tex").read_text()


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with replaced_folder(tmp_path / "out") as folder:
        fill(folder)
    assert content(tmp_path / "out")[MARK] == b"new"


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written") as caught, replaced_folder(tmp_path / "file/out"):
        raise AssertionError("never entered")
    sentence(caught)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_parent_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(OutputError, match="Permission denied"), replaced_folder(tmp_path / "out"):
            raise AssertionError("never entered")
    finally:
        tmp_path.chmod(0o755)


def test_files_that_belong_together_are_written_together(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(out)
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: Full(path) if "second" in path.name else real(path, mode))
    with pytest.raises(OutputError, match=r"second\.txt cannot be written: No space left"):
        write_files({out / MARK: "new", out / "second.txt": "new"})
    monkeypatch.undo()
    assert content(out) == before


def test_a_file_that_is_refused_is_named_by_its_place_in_out(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError) as caught, replaced_folder(out) as folder:
        monkeypatch.setattr(Path, "open", lambda path, mode: Full(path))
        write_file(folder / "deep" / "file.bin", b"")
    assert sentence(caught) == f"{out}/deep/file.bin cannot be written: No space left on device."


def test_a_file_in_the_place_of_a_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OutputError, match=r"file/x\.txt cannot be written: (File exists|Not a directory)") as caught:
        write_file(tmp_path / "file" / "x.txt", "new")
    sentence(caught)
    for path in (tmp_path / "file", tmp_path / "file" / "deep" / "er"):
        with pytest.raises(OutputError, match="is no folder; choose another -o") as caught:
            expect_folder(path)
        sentence(caught)
    expect_folder(tmp_path)
    expect_folder(tmp_path / "new" / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
