"""`/health/deep`: a look at all that the worker stands on, and at every model.

What it is not: a probe for load balancers (probes.py has those): it asks the database and the disk.
"""

from __future__ import annotations

import time
from collections import defaultdict

import psutil
from apiflask import APIBlueprint

from models.catalog import ENTRIES, ModelKind
from server.http.document import unwell
from server.http.lips import MISSING, standing
from server.http.service import Service, service
from server.http.shapes import Checks, DeepHealth
from server.jobs.database import StoreError
from server.state import Phase
from server.texts import READY
from server.watchdog import rss_bytes

bp = APIBlueprint("deep", __name__, tag="Health")

# Less than this and the next job may end the process.
_LEAST_MEMORY_BYTES = 256 * 1024**2
_MIB = 1024**2


@bp.get("/health/deep")
@bp.output(DeepHealth)
@bp.doc(responses=unwell("DeepHealth"))
def health_deep() -> tuple[DeepHealth, int]:
    """Look at models, device, database, disk and memory; 503 when the worker cannot work."""
    here = service()
    problems: dict[str, str] = {}
    models = _models(here, problems)
    checks = Checks(
        model_loaded=here.state.models.get(here.settings.lipsync_model) == READY,
        gpu_available=here.state.device.kind == "cuda",
        database_connected=_database(here, problems),
        disk_space_ok=_disk(here, problems),
        memory_ok=_memory(here, problems),
    )
    good = _good(here, checks)
    body = DeepHealth(
        status="healthy" if good else "unhealthy",
        phase=here.state.phase.value,
        checks=checks,
        face_detector=here.state.detector,
        models=models,
        problems=problems,
        timestamp=int(time.time()),
    )
    return body, 200 if good else 503


def _good(here: Service, checks: Checks) -> bool:
    """A CPU is as good as a GPU, unless one is asked for; then the worker fails by itself."""
    passed = checks.model_dump(exclude={"gpu_available"})
    return all(passed.values()) and here.state.phase is not Phase.FAILED


def _models(here: Service, problems: dict[str, str]) -> dict[str, list[str]]:
    """Names by status; what is wrong with one goes into `problems`."""
    words = {
        entry.name: standing(here, entry) for entry in ENTRIES if entry.kind is not ModelKind.TEXT
    }
    words |= {name: word for name, word in here.state.models.items() if name not in words}
    words |= here.texts.statuses()
    found: dict[str, list[str]] = defaultdict(list)
    for name, text in words.items():
        word, _, why = text.partition(": ")
        found[word].append(name)
        if why:
            problems[name] = f"{word}: {why}" if word != MISSING else why
    return dict(found)


def _database(here: Service, problems: dict[str, str]) -> bool:
    try:
        here.store.counts()
    except StoreError as error:
        problems["database_connected"] = str(error)
        return False
    return True


def _disk(here: Service, problems: dict[str, str]) -> bool:
    free, floor = here.files.free_bytes(), here.settings.min_free_disk_bytes
    if free < floor:
        problems["disk_space_ok"] = f"{free} bytes free, below MIN_FREE_DISK_BYTES={floor}"
    return free >= floor


def _memory(here: Service, problems: dict[str, str]) -> bool:
    free, used = psutil.virtual_memory().available, rss_bytes()
    most = here.settings.gunicorn_max_memory * _MIB
    if free < _LEAST_MEMORY_BYTES:
        problems["memory_ok"] = f"{free // _MIB} MiB of the machine's memory are left"
    elif most and used > most:
        problems["memory_ok"] = (
            f"{used // _MIB} MiB in use, above GUNICORN_MAX_MEMORY={most // _MIB}"
        )
    return "memory_ok" not in problems
