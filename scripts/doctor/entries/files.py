"""The book's entries about models, ports, folders, memory and the database. Data only.

What it is not: the looking (scripts/doctor/checks).
"""

from __future__ import annotations

from scripts.doctor.entry import Entry, Level

_BAD, _ODD = Level.PROBLEM, Level.WARNING

FILES = (
    Entry(
        "model-missing",
        "weights",
        _BAD,
        "`BootError: … is missing in …`; the model shows as `missing`",
        "A model that the settings name has not all its files in WEIGHTS_DIR.",
        "{remedy}",
        "scripts/download_models.py --only <model>, or put the file into WEIGHTS_DIR",
    ),
    Entry(
        "model-damaged",
        "weights",
        _BAD,
        "A model cannot be loaded; `should have sha256`",
        "A file that ships with the code is not what was published.",
        "git checkout models/assets (or take the folder from the release again)",
    ),
    Entry(
        "model-differs",
        "weights",
        _ODD,
        "A model fails to load, or its results are poor",
        "A file has a published name and not the published content: a download that was cut off, or"
        " a model of your own. It is loaded as it is.",
        "{python} -m scripts.download_models --replace --only {model}",
    ),
    Entry(
        "model-no-model",
        "weights",
        _BAD,
        "`invalid load key`, `not a ZIP archive` or `Protobuf parsing failed`",
        "The file is a web page or a Git LFS pointer that was saved under a model's name.",
        "delete it, then {remedy}",
        "delete it, then scripts/download_models.py --only <model>",
    ),
    Entry(
        "checkpoint-missing",
        "weights",
        _BAD,
        "Text requests answer that the model could not be loaded",
        "MODEL_CHECKPOINT, MODEL_CHECKPOINTS or TOKENIZER names a path that is not there.",
        "set {setting} to a file or folder that exists (ls -l {path})",
    ),
    Entry(
        "port-taken",
        "ports",
        _BAD,
        "`Address already in use`, or `Connection in use` again and again",
        "Another program listens there.",
        "{setting}=a-free-port, or end the program: ss -ltnp 'sport = :{port}'",
    ),
    Entry(
        "port-refused",
        "ports",
        _BAD,
        "`Permission denied` or `Cannot assign requested address` at the start",
        "The address is not one of this machine, or ports below 1024 need a right that this user"
        " has not.",
        "{setting}=127.0.0.1 or 0.0.0.0, and a port from 1024 on with a proxy in front",
    ),
    Entry(
        "data-read-only",
        "folders",
        _BAD,
        "`Read-only file system`, `Permission denied`, `DATA_DIR=… cannot be written`",
        "The server cannot write where its data lies.",
        "{remedy}",
        "mount -o remount,rw <path>; chown -R <user> <path>; or another DATA_DIR",
    ),
    Entry(
        "disk-full",
        "folders",
        _BAD,
        "507 for new jobs; `No space left on device`",
        "Less is free than MIN_FREE_DISK_BYTES, or no file can be made any more.",
        "df -h {path}; df -i {path}; then make room, a smaller KEEP_RESULTS_H, or DATA_DIR on a"
        " larger disk",
    ),
    Entry(
        "disk-low",
        "folders",
        _ODD,
        "507 for new jobs before long",
        "Less is free than the largest upload that is accepted.",
        "df -h {path}; a smaller KEEP_RESULTS_H or MAX_UPLOAD_BYTES, or DATA_DIR on a larger disk",
    ),
    Entry(
        "data-on-network",
        "folders",
        _ODD,
        "`database is locked`, `disk I/O error`; two owners of one device",
        "DATA_DIR lies on a network file system: SQLite's journal and the locks of devices are not"
        " safe there.",
        "DATA_DIR on a local disk, or DATABASE_URL=postgresql+psycopg://… for many hosts",
    ),
    Entry(
        "shm-small",
        "memory",
        _ODD,
        "`WORKER TIMEOUT` under disk load; `Bus error` in containers",
        "The folder /dev/shm is not there, cannot be written, or is nearly full: Gunicorn's"
        " heartbeat goes to the disk, and libraries that share memory fail.",
        "docker run --shm-size=8g (Compose: shm_size: 8g); bare metal: mount -o remount,size=8G"
        " /dev/shm, and rm what was left in it",
    ),
    Entry(
        "memory-low",
        "memory",
        _ODD,
        "Workers vanish (`Worker was sent SIGKILL! Perhaps out of memory?`)",
        "Less memory is free than a worker takes with its models.",
        "free -h; end other programs, raise the container's limit, or GUNICORN_MAX_MEMORY to be"
        " drained before",
    ),
    Entry(
        "files-few",
        "memory",
        _ODD,
        "`Too many open files` under load",
        "The limit of open files is below what a busy server needs.",
        "ulimit -n 65536 (systemd: LimitNOFILE=65536; Compose: ulimits: nofile: 65536)",
    ),
    Entry(
        "database-unreachable",
        "database",
        _BAD,
        "503 from every job route; `the job store … failed`",
        "The database of DATABASE_URL does not answer, or refuses.",
        "start the database, or mend host, port, user and password in DATABASE_URL; unset it for"
        " SQLite in DATA_DIR",
    ),
    Entry(
        "database-driver",
        "database",
        _BAD,
        "`DATABASE_URL cannot be used: No module named 'psycopg'`",
        "DATABASE_URL is not one, or the package that speaks to this kind of database is not"
        " installed.",
        "{python} -m pip install 'psycopg[binary]' and postgresql+psycopg://user:password@host/name"
        " (or unset DATABASE_URL)",
    ),
    Entry(
        "database-damaged",
        "database",
        _BAD,
        "`database disk image is malformed`, `file is not a database`",
        "The SQLite file of the jobs is damaged.",
        "stop the server, keep the file (mv {path} {path}.damaged), and put a backup back or start"
        " with an empty one: finished results stay in DATA_DIR/results",
    ),
    Entry(
        "database-newer",
        "database",
        _BAD,
        "`has a version that this program does not know`",
        "The database was written by a newer version of the server.",
        "install that version again, or DATABASE_URL of another database",
    ),
    Entry(
        "database-locked",
        "database",
        _ODD,
        "`database is locked`; requests take ten seconds and fail",
        "A process holds the lock of the SQLite file: a backup, an open sqlite3 shell, or a server"
        " that hangs.",
        "fuser -v {path}; end what holds it",
    ),
)
