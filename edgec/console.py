"""The border between edgec and the shell: exit codes, one-sentence errors, progress. Imports nothing heavy."""

from __future__ import annotations

import errno
import json
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from edgec.errors import EdgecError

USAGE, BUG, INTERRUPTED, TERMINATED = 2, 70, 130, 143
# What a user's disk and folders can do to any command; every other OSError is a bug of edgec.
ENVIRONMENT = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOTDIR: "a part of the path is not a folder",
    errno.EISDIR: "it is a folder",
    errno.ENAMETOOLONG: "the name is too long",
}


class Terminated(KeyboardInterrupt):
    """SIGTERM came: everything is left as after Ctrl-C, temporary folders are removed, what is measured is kept."""


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Terminated is raised where SIGTERM interrupts the main thread, the only one that may ask for signals."""

    def terminate(number: int, frame: object) -> NoReturn:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Commands(click.Group):
    """A click group that ends every command with one of edgec's exit codes, and with JSON on stdout under --json."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line; ends with SystemExit unless standalone_mode is off."""
        given = list(sys.argv[1:] if args is None else args)
        if not standalone_mode:
            return super().main(given, prog_name, complete_var, standalone_mode=False, **extra)
        as_json = "--json" in given
        try:
            with _sigterm_raises():
                code = super().main(given, prog_name, complete_var, standalone_mode=False, **extra)
        except click.Abort as stopped:
            if isinstance(stopped.__cause__, Terminated):
                _fail("terminated", TERMINATED, as_json)
            _fail("interrupted", INTERRUPTED, as_json)
        except click.ClickException as error:
            if not as_json:
                error.show()
                sys.exit(error.exit_code)
            _fail(error.format_message(), error.exit_code, as_json)
        except EdgecError as error:
            _fail(str(error), error.exit_code, as_json)
        except MemoryError:
            _fail("this machine has too little memory for the model.", USAGE, as_json)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in ENVIRONMENT:
                name = f"{error.filename}: " if error.filename else ""
                _fail(f"{name}{ENVIRONMENT[error.errno]}.", USAGE, as_json)
            traceback.print_exc()
            _fail(f"this is a bug of edgec: {type(error).__name__}: {error}", BUG, as_json)
        sys.exit(code if isinstance(code, int) else 0)


def _fail(sentence: str, code: int, as_json: bool) -> NoReturn:
    """End the process: the sentence goes to stderr, or as JSON to stdout."""
    if as_json:
        print_json({"error": sentence, "exit_code": code})
    else:
        click.echo(f"error: {sentence}", err=True)
    sys.exit(code)


def print_json(value: Any) -> None:
    """One JSON document on stdout, keys sorted."""
    click.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function that shows what is being done, on stderr, and only if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(escape(text))


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """A function (text, done, total) that shows a bar with the time left, on stderr, and only if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda text, done, total: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True)) as shown:
        current: dict[str, Any] = {}

        def say(text: str, done: int, total: int) -> None:
            stage = text.split(":", 2)[:2]  # "2/5 width: block" - a new stage or step starts a new bar
            if current.get("stage") != stage:
                if "task" in current:
                    shown.remove_task(current["task"])
                current["task"], current["stage"] = shown.add_task("", total=total), stage
            shown.update(current["task"], description=escape(text), completed=done, total=total or None)

        yield say


def print_report(report: Any, as_json: bool) -> None:
    """A Report on stdout, as JSON or as text with colour where the terminal has it."""
    if as_json:
        click.echo(report.to_json(), nl=False)
    elif sys.stdout.isatty():
        from rich.console import Console

        from edgec.report.text import WIDTH, render

        console = Console()
        console.width = min(max(console.width, 60), WIDTH + 20)
        render(report, console)
    else:
        from edgec.report.text import plain_text

        click.echo(plain_text(report), nl=False)
