"""A WSGI app with the real lifecycle and small fakes for models, runner and store: for tests of the
server's life. FAKE_* variables choose how it behaves.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from models.catalog import ModelEntry, ModelKind
from server import metrics
from server.boot import Parts
from server.lifecycle import Lifecycle
from server.logs import configure_logs
from server.settings import load_settings
from server.state import WorkerState


def load(device: str, weights_dir: Path) -> object:
    """The loader of every fake model."""
    time.sleep(float(os.environ.get("FAKE_LOAD_S", "0")) / 3)
    how = os.environ.get("FAKE_LOAD", "")
    if how == "raise":
        raise RuntimeError("the fake model is broken")
    if how == "die":
        os._exit(7)
    with Path(os.environ["DATA_DIR"], "loads.txt").open("a", encoding="utf-8") as log:
        log.write(f"{os.getpid()}\n")
    return SimpleNamespace(
        speech="viseme-audio", max_batch=4, render=list, infers=False, wants_landmarks=False
    )


def _entry(name: str, kind: ModelKind) -> ModelEntry:
    return ModelEntry(name, kind, f"{__name__}:load")


class FakeRunner:
    """Counts what it is told; a "job" runs for as long as its thread sleeps."""

    def __init__(self, state: WorkerState, **_: Any) -> None:
        self.state = state
        self.finished = 0
        self.jobs: list[threading.Thread] = []
        self.closing = threading.Event()

    @property
    def running(self) -> int:
        return sum(job.is_alive() for job in self.jobs)

    def start(self) -> None:
        self.say("start")

    def say(self, text: str) -> None:
        with Path(os.environ["DATA_DIR"], "runner.txt").open("a", encoding="utf-8") as log:
            log.write(f"{os.getpid()} {text}\n")

    def drain(self, timeout_s: float) -> None:
        self.closing.set()
        for job in self.jobs:
            job.join(timeout_s)
        self.say("drained")

    def finish_and_stop(self, timeout_s: float) -> None:
        for job in self.jobs:
            job.join(timeout_s)
        self.say("finished")

    def work(self, seconds: float, *, stoppable: bool = True) -> None:
        """A job: matrix products in native code that release the GIL."""

        def run() -> None:
            values = np.ones((400, 400))
            until = time.monotonic() + seconds
            while time.monotonic() < until and not (stoppable and self.closing.is_set()):
                values = values @ values / 400
            self.finished += 1
            self.say("job")

        job = threading.Thread(target=run, daemon=True)
        self.jobs.append(job)
        job.start()


class FakeApp:
    """Routes: /health, /slow?s=, /job?s=, /eat?mib=, /hold?s= (holds the GIL), POST /body."""

    def __init__(self) -> None:
        settings = load_settings()
        configure_logs(settings)
        self.state = WorkerState()
        self.runner: FakeRunner | None = None
        self.eaten: list[bytes] = []
        data = settings.data_dir
        files = SimpleNamespace(run=data / "run", cache=data / "cache")
        kinds = {"haar": ModelKind.FACE, "viseme": ModelKind.LIPSYNC}
        entries = [_entry(name, kind) for name, kind in kinds.items()]
        entries.append(_entry("viseme-audio", ModelKind.AUDIO))
        lifecycle = Lifecycle(
            settings,
            self.state,
            None,
            files,
            Parts(entries=entries, runner=self.make_runner),
        )
        self.extensions = {"lifecycle": lifecycle, "ops_app": self}

    def make_runner(self, **arguments: Any) -> FakeRunner:
        self.runner = FakeRunner(**arguments)
        return self.runner

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        query = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
        if path == "/metrics":
            body, kind = metrics.render()
        else:
            route = getattr(self, "get_" + path.strip("/"), None)
            answer = route(query, environ) if route else {"unknown": path}
            body, kind = json.dumps(answer).encode(), "application/json"
        start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    def get_health(self, _query: dict[str, str], _environ: Any) -> dict[str, Any]:
        device = self.state.device
        return {
            "status": self.state.phase.value,
            "reason": self.state.reason,
            "worker_pid": os.getpid(),
            "models": self.state.models,
            "device": {"kind": device.kind, "slot": device.slot, "why": device.why},
            "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "torch": "torch" in sys.modules,
        }

    def get_slow(self, query: dict[str, str], _environ: Any) -> dict[str, Any]:
        time.sleep(float(query["s"]))
        return {"slept": query["s"]}

    def get_job(self, query: dict[str, str], _environ: Any) -> dict[str, Any]:
        assert self.runner is not None
        self.runner.work(float(query["s"]), stoppable="stuck" not in query)
        return {"running": self.runner.running}

    def get_eat(self, query: dict[str, str], _environ: Any) -> dict[str, Any]:
        self.eaten.append(os.urandom(1024 * 1024) * int(query["mib"]))
        return {"eaten": len(self.eaten)}

    def get_hold(self, query: dict[str, str], _environ: Any) -> dict[str, Any]:
        """Hold the GIL: no bytecode of any other thread runs meanwhile."""
        sys.setswitchinterval(1000)
        until = time.monotonic() + float(query["s"])
        while time.monotonic() < until:
            sum(range(1000))
        return {"held": query["s"]}

    def get_body(self, _query: dict[str, str], environ: Any) -> dict[str, Any]:
        return {"read": len(environ["wsgi.input"].read())}


app = FakeApp()
