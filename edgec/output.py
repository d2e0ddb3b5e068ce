"""Writes an output folder whole or not at all: into a temporary folder beside it, then renamed into place."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from edgec.errors import OutputError

MARK = "build.json"  # what makes a folder one of ours, which may be replaced


@contextmanager
def replaced_folder(out: Path, mark: str = MARK) -> Iterator[Path]:
    """A new folder to fill; on success it takes the place of `out`, on any error it vanishes and `out` is untouched.

    `mark` is the file by which a folder of ours is known. Raises OutputError if `out` exists without it, or cannot be
    written.
    """
    if out.exists() and not (out.is_dir() and ((out / mark).is_file() or not any(out.iterdir()))):
        raise OutputError(f"{out} exists and was not built by edgec; choose another -o or remove it.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror}.") from None
    try:
        work.chmod(0o755)
        yield work
        _exchange(work, out)
    except OutputError as error:  # the user knows the one folder, not the other
        raise OutputError(str(error).replace(f"{work}{os.sep}", f"{out}{os.sep}")) from None
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror}.") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _exchange(work: Path, out: Path) -> None:
    """Put `work` in the place of `out`; if that fails, what was there is there again."""
    if not out.exists():
        os.replace(work, out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
    try:
        os.replace(out, old / "out")
        try:
            os.replace(work, out)
        except OSError:
            os.replace(old / "out", out)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


Contents = str | bytes | memoryview | Iterable[str]  # a file as a whole or in pieces


def write_file(path: Path, data: Contents) -> None:
    """Write one file through a temporary name, so that it is never half there."""
    write_files({path: data})


def write_files(files: Mapping[Path, Contents]) -> None:
    """Write files that belong together: none takes its place before all are on the disk.

    Raises OutputError if the disk refuses one; what was there is then untouched.
    """
    parts = {path: path.with_name(f".{path.name}.part") for path in files}
    path = Path()
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with parts[path].open("wb") as file:
                for piece in (data,) if isinstance(data, (str, bytes, memoryview)) else data:
                    file.write(piece.encode() if isinstance(piece, str) else piece)
        for path, part in parts.items():
            os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        for part in parts.values():
            with suppress(OSError):  # what refuses a file may refuse this too
                part.unlink()


def expect_folder(path: Path) -> None:
    """Raise OutputError now, not after hours, where there is no folder at `path` and none can be made."""
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise OutputError(f"{path} cannot be written: {place} is no folder; choose another -o.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be written: no permission in {place}; choose another -o.")
