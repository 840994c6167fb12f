"""The book's entries about settings, Gunicorn and the server's start. Data only.

What it is not: the looking (scripts/doctor/checks).
"""

from __future__ import annotations

from scripts.doctor.entry import Entry, Level

_BAD, _ODD = Level.PROBLEM, Level.WARNING

START = (
    Entry(
        "settings-refused",
        "settings",
        _BAD,
        "`refused to start: settings refused`, exit code 2",
        "A setting has a value that is not allowed, or two contradict each other.",
        "set what the line names; docs/settings.md has all settings with what is allowed",
    ),
    Entry(
        "setting-unknown",
        "settings",
        _ODD,
        "A setting has no effect",
        "The environment has a name that looks like a setting, and nothing reads it.",
        "{remedy}",
        "unset the name, or use the one that docs/settings.md has",
    ),
    Entry(
        "open-to-all",
        "settings",
        _ODD,
        "Strangers use the server",
        "It listens on every address and asks nobody for a key.",
        "API_KEY=a-long-secret, or HOST=127.0.0.1 with a proxy in front",
    ),
    Entry(
        "gunicorn-args",
        "gunicorn",
        _BAD,
        "`gunicorn: error: unrecognized arguments`, exit code 2",
        "GUNICORN_CMD_ARGS or the command line has an option that Gunicorn does not know.",
        "unset GUNICORN_CMD_ARGS, or mend it; gunicorn --help lists the options",
    ),
    Entry(
        "gunicorn-config",
        "gunicorn",
        _BAD,
        "`Failed to read config file` or `Invalid value for …`",
        "gunicorn.conf.py cannot be used as it is.",
        "git diff gunicorn.conf.py; git checkout gunicorn.conf.py",
    ),
    Entry(
        "config-name-ignored",
        "gunicorn",
        _ODD,
        "A setting in gunicorn.conf.py has no effect",
        "Gunicorn has no setting of this name, and ignores it in silence (max_worker_memory,"
        " access_logfile, error_logfile and tcp_nodelay are often met).",
        "remove {name} from gunicorn.conf.py; memory is bounded by GUNICORN_MAX_MEMORY, logs are"
        " set by LOG_FORMAT and LOG_LEVEL",
    ),
    Entry(
        "preload-on",
        "gunicorn",
        _BAD,
        "`Cannot re-initialize CUDA in forked subprocess`, or `refused to start: preload_app=True`",
        "The app would be loaded in Gunicorn's master, and CUDA does not survive the fork.",
        "unset GUNICORN_PRELOAD GUNICORN_PRELOAD_APP, and leave --preload out",
    ),
    Entry(
        "worker-class",
        "gunicorn",
        _BAD,
        "`refused to start: worker class …`",
        "This worker class cannot answer probes while it works, or makes native threads stand"
        " still.",
        "GUNICORN_WORKER_CLASS=gthread (or gevent, without -k)",
    ),
    Entry(
        "workers-over-slots",
        "gunicorn",
        _BAD,
        "`refused to start: N workers for M device slot(s)`, or CUDA out of memory at the start",
        "Each worker owns one device and loads every model on it.",
        "GUNICORN_WORKERS={slots}",
    ),
    Entry(
        "max-requests",
        "gunicorn",
        _ODD,
        "Models load again and again; short outages under light load",
        "max_requests counts probes too, and with one worker each turn is an outage; the server"
        " sets it to 0.",
        "unset GUNICORN_MAX_REQUESTS; use GUNICORN_MAX_MEMORY or GUNICORN_MAX_JOBS, which drain"
        " first",
    ),
    Entry(
        "timeout-short",
        "gunicorn",
        _ODD,
        "`WORKER TIMEOUT` in the log, jobs begin anew",
        "Gunicorn kills a worker when native code holds the interpreter for longer than this;"
        " loading a model may.",
        "GUNICORN_TIMEOUT=120",
    ),
    Entry(
        "threads-few",
        "gunicorn",
        _ODD,
        "Requests wait while somebody watches a job",
        "Every open stream holds a request thread, and as many streams are allowed as there are"
        " threads.",
        "GUNICORN_THREADS=8, or a smaller MAX_EVENT_STREAMS",
    ),
    Entry(
        "keepalive-long",
        "gunicorn",
        _ODD,
        "Many idle connections; `Too many open files`",
        "Idle connections are kept for so long; dead ones too.",
        "GUNICORN_KEEPALIVE=5",
    ),
    Entry(
        "reload-on",
        "gunicorn",
        _ODD,
        "The server starts anew when a file changes",
        "--reload is for development: a worker in mid-job is ended.",
        "leave --reload out of the command line and of GUNICORN_CMD_ARGS",
    ),
    Entry(
        "bind-differs",
        "gunicorn",
        _ODD,
        "Nobody answers on PORT",
        "The command line binds another address than HOST and PORT say.",
        "leave --bind out, and set HOST and PORT",
    ),
    Entry(
        "server-refused",
        "trial",
        _BAD,
        "The server ends at once: exit code 2 or 3, `Reason: …`",
        "A server that was started with these settings, on free ports and an empty data folder,"
        " ended by itself.",
        "mend what the reason names",
    ),
    Entry(
        "server-not-ready",
        "trial",
        _BAD,
        "`/health` says `loading` for ever",
        "A server that was started with these settings did not become ready in time.",
        "look at its last line above; on slow disks BOOT_TIMEOUT_S=600",
    ),
    Entry(
        "master-heavy",
        "trial",
        _BAD,
        "`CUDA error: initialization error` in workers, or `refused to fork`",
        "Gunicorn's master has loaded a library that may touch CUDA; its workers inherit a dead"
        " context.",
        "find who imports it: {python} -X importtime -c 'import runpy;"
        ' runpy.run_path("gunicorn.conf.py")\'; look at PYTHONPATH, sitecustomize and'
        " GUNICORN_CMD_ARGS",
    ),
    Entry(
        "models-twice",
        "trial",
        _BAD,
        "The GPU's memory is filled several times over",
        "A worker loaded its models more than once.",
        "report the line with the summary below",
    ),
    Entry(
        "server-stop",
        "trial",
        _ODD,
        "A stop takes until the container's or systemd's SIGKILL",
        "The server did not end within its graceful time after SIGTERM.",
        "give the supervisor more time than GRACEFUL_TIMEOUT_S (systemd: TimeoutStopSec, Docker:"
        " stop_grace_period)",
    ),
)
