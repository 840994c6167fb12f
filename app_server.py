"""The WSGI app `app_server:app`; `python app_server.py` serves it by Flask alone, for development.

What it is not: a place for logic. It puts settings, store, files, lifecycle and HTTP together; only
workers import it, never the Gunicorn master.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from apiflask import APIFlask

from server.boot import Parts
from server.http.app import create_app
from server.http.probes import create_ops_app
from server.jobs.files import JobFiles
from server.jobs.store import open_store
from server.lifecycle import Lifecycle, lone_place
from server.logs import catch_strays, configure_logs
from server.ops import OpsServer, listen
from server.settings import Settings, SettingsError, load_settings, pin_device
from server.state import Phase, WorkerState
from server.texts import Texts, sources_of


def build(settings: Settings | None = None) -> APIFlask:
    """The app with its worker state, store and lifecycle (`app.extensions`). Nothing is started.

    Raises:
        SettingsError: a setting is not allowed.
    """
    settings = settings or load_settings()
    configure_logs(settings)
    state = WorkerState()
    files = JobFiles(settings.data_dir)
    files.make()
    store = open_store(settings)
    texts = Texts(sources_of(settings))
    app = create_app(settings, state, store, files, texts)
    app.extensions["lifecycle"] = Lifecycle(settings, state, store, files, Parts(texts=texts))
    app.extensions["ops_app"] = create_ops_app(settings, state, store, texts)
    app.extensions["worker_state"] = state
    return app


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def main() -> int:
    """Serve by Flask's own server until SIGTERM or Ctrl-C; exit code 3 after a failed boot."""
    settings = load_settings()
    place = lone_place(settings)
    pin_device(place.slot.device)
    catch_strays()
    app = build(settings)
    lifecycle: Lifecycle = app.extensions["lifecycle"]
    signal.signal(signal.SIGTERM, _leave)
    ops = None
    if settings.ops_port:
        ops = OpsServer(listen(settings.ops_host, settings.ops_port), app.extensions["ops_app"])
        ops.start()
    try:
        lifecycle.start(place)
        app.run(settings.host, settings.port, threaded=True, use_reloader=False, debug=False)
    except SystemExit:
        pass
    finally:
        lifecycle.stop(settings.graceful_timeout_s)
        if ops is not None:
            ops.stop()
    return 3 if app.extensions["worker_state"].phase is Phase.FAILED else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (SettingsError, OSError) as error:
        sys.exit(f"refused to start: {error}")
else:
    app = build()
