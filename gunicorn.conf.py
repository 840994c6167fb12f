"""Gunicorn's configuration: every setting with its why, and the hooks of a worker's life.

What it is not: a place for logic; the hooks call server/master.py (in the master) and
server/worker.py (in a worker). Used by `gunicorn -c gunicorn.conf.py app_server:app`.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

_ROOT = str(Path(__file__).resolve().parent)
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

from server.logs import catch_strays, logging_config  # noqa: E402 - the path comes first
from server.master import OPS_FD_VARIABLE, OUR_GEVENT, get_master  # noqa: E402
from server.settings import SettingsError, load_settings, visible_devices  # noqa: E402

try:
    settings = load_settings()
    master = get_master(settings, visible_devices())
except SettingsError as error:
    sys.stderr.write(f"refused to start: {error}\n")
    sys.exit(2)

# Light libraries that every worker needs: imported once here, so that a new worker answers
# "loading" within a second. None of them touches a device; torch, onnxruntime and cv2 stay out.
for _name in (
    "flask",
    "apiflask",
    "pydantic",
    "sqlalchemy.dialects.sqlite",
    "alembic.command",
    "alembic.context",
    "prometheus_client",
    "psutil",
    "filelock",
):
    importlib.import_module(_name)

wsgi_app = "app_server:app"
pythonpath = _ROOT  # works from any folder; no chdir, so that a relative DATA_DIR keeps its meaning
proc_name = "mouthpiece"

bind = [settings.bind]
backlog = settings.gunicorn_backlog  # more than this many waiting connections are refused at once

workers = master.gpus.workers  # one per device: each loads every model
threads = settings.gunicorn_threads  # requests wait for I/O and the lane, never for each other
worker_class = (
    OUR_GEVENT if settings.gunicorn_worker_class == "gevent" else settings.gunicorn_worker_class
)
worker_connections = 1000  # idle keep-alive connections cost a descriptor, not a thread
preload_app = settings.gunicorn_preload  # must be False (CUDA dies across fork): refused otherwise
max_requests = settings.gunicorn_max_requests  # must be 0: counts probes, reloads models: forced

timeout = settings.gunicorn_timeout  # finds a held GIL only; under gthread it bounds no request
graceful_timeout = max(1, round(settings.graceful_timeout_s))
keepalive = settings.gunicorn_keepalive  # long ones park dead sockets

# The heartbeat file: on a disk it can stall a healthy worker (containers' overlay file systems).
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - no name made

# Gunicorn 25.1+ opens a control socket under $HOME: a way in that nothing here needs.
control_socket_disable = True

# One log format for all; the access log goes through the same handlers (see server/logs.py).
logconfig_dict = logging_config(settings)
catch_strays()
loglevel = settings.log_level
access_log_format = '%(h)s "%(m)s %(U)s %(H)s" %(s)s %(b)s %(M)sms'  # no query: it may hold secrets

# Heads of requests are small; bodies are bounded by MAX_UPLOAD_BYTES in the app.
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190


def on_starting(server: Any) -> None:
    """Check the settings in force (the command line may override), bind the ops socket."""
    fd = os.environ.pop(OPS_FD_VARIABLE, None)
    master.on_starting(server, int(fd) if fd else None)


def on_reload(server: Any) -> None:
    """SIGHUP: the config was read again."""
    from server.master import enforce

    enforce(server.cfg)


def nworkers_changed(server: Any, new: int, old: int | None) -> None:
    """SIGTTIN and SIGTTOU."""
    master.nworkers_changed(server, new, old)


def pre_fork(server: Any, worker: Any) -> None:
    """In the master, before each worker: the CUDA guard and the device slot."""
    master.pre_fork(server, worker)


def post_fork(server: Any, worker: Any) -> None:
    """In the worker, before the app is imported: show CUDA one device only."""
    from server import worker as life

    life.post_fork(worker, master.place(worker))


def post_worker_init(worker: Any) -> None:
    """In the worker, with the app imported: the boot begins beside the first requests."""
    from server import worker as life

    life.post_worker_init(worker, master.place(worker))


def worker_int(worker: Any) -> None:
    """SIGINT or SIGQUIT: end quickly."""
    from server import worker as life

    life.worker_int(worker)


def worker_exit(server: Any, worker: Any) -> None:
    """In the worker, last of all."""
    from server import worker as life

    life.worker_exit(worker)


def child_exit(server: Any, worker: Any) -> None:
    """In the master, after any end of a worker: free its slot, count failed boots."""
    master.child_exit(server, worker)


def pre_exec(server: Any) -> None:
    """SIGUSR2: a new master takes over the sockets."""
    master.pre_exec(server)
