"""Runs checks in child processes, so that a crash, a hang or a broken library is only a finding.

What it is not: a check. One child makes all ordinary checks, one after the other; a check that is
`fresh` gets a child of its own, and one that died or hung is replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from scripts.doctor.finding import Finding, found, read
from scripts.doctor.look import Look
from scripts.doctor.plan import Check

_CHILD = Path(__file__).resolve().parent / "child.py"
_BLOCK_BYTES = 65536
_NOTE_BYTES = 4000
_END_S = 5.0


class Child:
    """One child process; in a session of its own, so that what it starts ends with it."""

    def __init__(self, python: str) -> None:
        # In memory, so that a full disk is no obstacle.
        self._errors: IO[bytes] = os.fdopen(os.memfd_create("doctor"), "w+b")
        try:
            self._process = subprocess.Popen(
                [python, str(_CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except OSError:
            self._errors.close()
            raise
        self._rest = b""
        self._busy = False

    def ask(self, order: Any) -> None:
        """Send one order; a child that is gone shows when it is asked for answers."""
        self._busy = True
        stdin = self._process.stdin
        if stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                stdin.write(json.dumps(order).encode() + b"\n")
                stdin.flush()

    def answers(self, timeout_s: float) -> Iterator[Any]:
        """Its answers as they come, until the last of this order.

        Raises:
            TimeoutError: it did not end in time.
            EOFError: the process is gone.
        """
        stdout = self._process.stdout
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(stdout or -1, selectors.EVENT_READ)
            while True:
                line, found_end, rest = self._rest.partition(b"\n")
                if found_end:
                    self._rest = rest
                    message = json.loads(line)
                    if "end" in message:
                        self._busy = False
                        return
                    yield message
                    continue
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                block = os.read(selector.get_map()[stdout].fd, _BLOCK_BYTES) if stdout else b""
                if not block:
                    raise EOFError
                self._rest += block

    def last_words(self) -> str:
        """How it ended, with the last line that it wrote to stderr."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.returncode
        how = f"exit code {code}" if code is None or code >= 0 else signal.Signals(-code).name
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - _NOTE_BYTES))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"{how}: {lines[-1].strip()}" if lines else how

    def close(self) -> None:
        """End it and all that it started: one that waits for orders ends by itself."""
        self._close(self._process.stdin)
        if not self._busy:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._close(self._process.stdout)
        self._errors.close()

    def _close(self, stream: IO[bytes] | None) -> None:
        with contextlib.suppress(BrokenPipeError):
            if stream is not None:
                stream.close()


class Ward:
    """Makes checks with one interpreter. Use it in a `with`."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._child: Child | None = None

    def __enter__(self) -> Ward:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def make(self, check: Check, look: Look) -> list[Finding]:
        """The findings of a check; its crash or its hang is one."""
        try:
            child = self._start(fresh=check.fresh)
        except OSError as error:
            return [found("check-crashed", f"{_about(check, '')} could not be started: {error}")]
        findings: list[Finding] = []
        at = ""
        child.ask({"target": check.target, "look": look.plain()})
        try:
            for answer in child.answers(check.timeout_s):
                at = answer.get("at", at)
                if "finding" in answer:
                    findings.append(read(answer["finding"]))
        except TimeoutError:
            text = f"{_about(check, at)} did not end within {check.timeout_s:g} s"
            findings.append(found("check-hung", text, check=check.name))
            self._end()
        except EOFError:
            words = child.last_words()
            findings.append(found("check-crashed", f"{_about(check, at)} crashed: {words}"))
            self._end()
        if check.fresh:
            self._end()
        return findings

    def _start(self, *, fresh: bool) -> Child:
        if fresh:
            self._end()
        self._child = self._child or Child(self._python)
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None


def _about(check: Check, at: str) -> str:
    return f"the check of {check.name}" + (f", at {at}," if at else "")
