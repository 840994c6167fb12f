"""Ports: can the server listen where it should, or does it listen there already?

What it is not: a look at firewalls and proxies.
"""

from __future__ import annotations

import errno
import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psutil

from scripts.doctor.finding import Finding, found, nice
from scripts.doctor.leases import held
from scripts.doctor.look import Look
from server.settings import Settings, load_settings

_ASK_S = 3.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared only


def check(_look: Look) -> Iterator[Finding]:
    """Bind each listener's address, and let go of it."""
    settings = load_settings()
    running = our_server(settings)
    if running:
        yield nice(
            f"this server runs at {settings.bind}: worker {running['worker_pid']} is"
            f" {running['status']}",
            running=running["worker_pid"],
        )
        return
    listeners = [("PORT", settings.host, settings.port)]
    if settings.ops_port:
        listeners.append(("OPS_PORT", settings.ops_host, settings.ops_port))
    for name, host, port in listeners:
        yield _try(name, host, port)


def our_server(settings: Settings) -> dict[str, Any]:
    """What the server of this DATA_DIR says of itself; {} when none answers on HOST and PORT."""
    owners = {lease.pid for lease in held(settings.data_dir)}
    health = ask(settings.host, settings.port) if owners else {}
    pids = {str(worker.get("pid")) for worker in health.get("workers", [])}
    mine = owners & {*pids, str(health.get("worker_pid"))}
    return health if mine and "status" in health else {}


def ask(host: str, port: int) -> dict[str, Any]:
    """GET /health; {} for no answer or another kind of answer."""
    connection = http.client.HTTPConnection(_ANY.get(host, host), port, timeout=_ASK_S)
    with closing(connection):
        try:
            connection.request("GET", "/health")
            answer = json.loads(connection.getresponse().read(65536))
        except (OSError, ValueError, http.client.HTTPException):
            return {}
    return answer if isinstance(answer, dict) else {}


def _try(name: str, host: str, port: int) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    where = f"{name}={port} on {host}"
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                text = f"{where} is taken by {_owner(port)}"
                return found("port-taken", text, setting=name, port=port)
            text = f"{where}: {error.strerror or error}"
            which = "HOST" if name == "PORT" else "OPS_HOST"
            return found("port-refused", text, setting=which)
    return nice(f"{where} is free")


def _owner(port: int) -> str:
    """The program that listens on a port, as far as this user may know."""
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return "another program"
    pids = [
        each.pid
        for each in connections
        if each.status == psutil.CONN_LISTEN and tuple(each.laddr)[1:2] == (port,) and each.pid
    ]
    try:
        return f"process {pids[0]} ({psutil.Process(pids[0]).name()})" if pids else "another user"
    except psutil.Error:
        return f"process {pids[0]}"
