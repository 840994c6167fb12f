"""`python -m server.diagnose`: what a server started here would run on and with.

What it is not: a repair, or a look at a running server (that is /health). It starts nothing but a
look at the device, and uses neither database nor models' networks.
"""

from __future__ import annotations

import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from models.catalog import ENTRIES, ModelEntry
from models.files import difference, lacking
from server.device import BootError, open_device
from server.gpuconfig import plan_gpus
from server.lease import Lease, LeaseError
from server.lineup import Lineup, line_up
from server.settings import (
    Settings,
    SettingsError,
    load_settings,
    pin_device,
    visible_devices,
)
from server.slots import Slot, find_slots

_GIB = 1024**3
_SECRETS = ("api_key", "database_url")
Line = tuple[str, str]


def main() -> int:
    """Print the report; 1 when the server could not start as it is set."""
    try:
        settings = load_settings()
        gpus = plan_gpus(settings, find_slots(settings, visible_devices()))
        line_up(settings)
    except SettingsError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    bad = False
    for title, lines in report(gpus.settled(settings, None), gpus.slots):
        sys.stdout.write(f"{title}\n")
        for name, text in lines:
            bad = bad or text.startswith("BAD")
            sys.stdout.write(f"  {name:<24} {text}\n")
    sys.stdout.write("The server would not start as it is set: see BAD above.\n" if bad else "")
    return 1 if bad else 0


def report(settings: Settings, slots: tuple[Slot, ...]) -> Iterator[tuple[str, list[Line]]]:
    """Sections with their lines; a text that begins with BAD keeps the server from starting."""
    yield "Machine", [("python", platform.python_version()), ("system", platform.platform())]
    yield "Device", [_workers(settings, slots), *(_slot(settings, slot) for slot in slots)]
    yield (
        "Listeners",
        [
            ("PORT", _port(settings.host, settings.port)),
            (
                "OPS_PORT",
                _port(settings.ops_host, settings.ops_port) if settings.ops_port else "off",
            ),
        ],
    )
    yield (
        "Folders",
        [
            ("DATA_DIR", _folder(settings.data_dir, settings.min_free_disk_bytes)),
            ("WEIGHTS_DIR", _weights(settings.weights_dir)),
        ],
    )
    lineup = line_up(settings)
    models = sorted(ENTRIES, key=lambda entry: entry.name)
    yield "Models", [_model(entry, settings, lineup) for entry in models]
    yield "Loaded at the start", list(_loaded(lineup))
    yield "Settings that differ from their defaults", list(_changed(settings)) or [("none", "")]


def _workers(settings: Settings, slots: tuple[Slot, ...]) -> Line:
    count = settings.gunicorn_workers
    text = f"{count} for {len(slots)} device slot(s)"
    return "workers", text if count <= len(slots) else f"BAD: {text}"


def _slot(settings: Settings, slot: Slot) -> Line:
    """What a worker in this slot would run on; CUDA is looked at for one slot only per process."""
    lease = Lease(settings.data_dir / "run" / f"device-{slot.name}.lock")
    if lease.path.exists():
        try:
            lease.acquire(0)
        except LeaseError:
            return slot.name, f"in use by process {lease.owner()}"
        lease.release()
    if slot.index:
        return slot.name, f"not looked at (CUDA_VISIBLE_DEVICES={slot.device})"
    pin_device(slot.device)
    try:
        device = open_device(settings, slot)
    except BootError as error:
        return slot.name, f"BAD: {error}"
    return slot.name, f"{device.kind}: {device.name} ({device.why})"


def _port(host: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            return f"BAD: {host}:{port}: {error.strerror or error}"
    return f"{host}:{port} is free"


def _folder(path: Path, least_bytes: int) -> str:
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    state = "" if path.exists() else ", made at the start"
    text = f"{path}: {free / _GIB:.1f} GiB free{state}"
    return text if free >= least_bytes else f"BAD: {text}, below MIN_FREE_DISK_BYTES"


def _weights(path: Path) -> str:
    return f"{path}{'' if path.is_dir() else ': not there (only the embedded models work)'}"


def _model(entry: ModelEntry, settings: Settings, lineup: Lineup) -> Line:
    """BAD where the server cannot start without the model's files."""
    wrong = lacking(entry, settings.weights_dir)
    if wrong:
        needed = (lineup.lipsync[0], lineup.detectors[-1])
        return entry.name, ("BAD: " if entry.name in needed else "missing: ") + wrong
    other = next(
        (text for file in entry.files if (text := difference(file, settings.weights_dir))), ""
    )
    return entry.name, f"{entry.kind.value}: {other or 'files whole'}"


def _loaded(lineup: Lineup) -> Iterator[Line]:
    yield "face detector", " else ".join(lineup.detectors)
    yield "lip-sync", ", ".join(lineup.lipsync)


def _changed(settings: Settings) -> Iterator[Line]:
    for name, info in type(settings).model_fields.items():
        value = getattr(settings, name)
        default = info.get_default()
        if isinstance(default, Path):
            default = default.absolute()
        if value != default:
            yield name.upper(), "set, not shown" if name in _SECRETS else str(value)


if __name__ == "__main__":
    sys.exit(main())
