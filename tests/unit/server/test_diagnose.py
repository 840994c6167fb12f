"""The report of what a server started here would do."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from server import diagnose
from server.lease import Lease
from server.settings import load_settings
from server.slots import Slot

CPU = (Slot(0, "", "DEVICE=cpu"),)


def lines(slots: tuple[Slot, ...], **settings: Any) -> dict[str, str]:
    full = load_settings(**{"PORT": 0, "OPS_PORT": 0, "DEVICE": "cpu", **settings})
    found: dict[str, str] = {}
    for _, section in diagnose.report(full, slots):
        for name, text in section:
            found.setdefault(name, text)
    return found


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look at the device sets CUDA_VISIBLE_DEVICES; put it back afterwards."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_a_healthy_machine_has_nothing_bad(tmp_path: Path) -> None:
    found = lines(CPU, DATA_DIR=str(tmp_path))
    assert not [text for text in found.values() if text.startswith("BAD")]
    assert found["OPS_PORT"] == "off"
    assert found["cpu"].startswith("cpu: cpu (DEVICE=cpu)")
    assert found["viseme-audio"] == "audio: files whole"


def test_a_busy_port_too_many_workers_and_a_full_disk_are_bad(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = lines(
            CPU,
            PORT=port,
            GUNICORN_WORKERS=2,
            DATA_DIR=str(tmp_path),
            MIN_FREE_DISK_BYTES=10**18,
        )
    assert found["PORT"] == f"BAD: 127.0.0.1:{port}: Address already in use"
    assert found["workers"] == "BAD: 2 for 1 device slot(s)"
    assert "below MIN_FREE_DISK_BYTES" in found["DATA_DIR"]


def test_a_device_in_use_is_named_with_its_owner(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "run" / "device-cpu.lock")
    lease.acquire(1)
    found = lines(CPU, DATA_DIR=str(tmp_path))
    lease.release()
    assert found["cpu"].startswith("in use by process ")
    assert lines(CPU, DATA_DIR=str(tmp_path))["cpu"].startswith("cpu: ")


def test_further_gpus_are_listed_without_touching_them(tmp_path: Path) -> None:
    slots = (*CPU, Slot(1, "1", "found"))
    assert "not looked at" in lines(slots, DATA_DIR=str(tmp_path))["gpu-1"]


def test_settings_that_differ_are_shown_and_secrets_are_not(tmp_path: Path) -> None:
    found = lines(CPU, DATA_DIR=str(tmp_path), API_KEY="very secret", SEGMENT_S=1)
    assert found["API_KEY"] == "set, not shown"
    assert "very secret" not in str(found)
    assert found["SEGMENT_S"] == "1.0"


def test_a_model_that_must_load_and_lacks_a_file_is_bad_and_another_is_missing(
    tmp_path: Path,
) -> None:
    where = {"DATA_DIR": str(tmp_path), "WEIGHTS_DIR": str(tmp_path)}
    found = lines(CPU, **where, LIPSYNC_MODEL="wav2lip")
    assert found["wav2lip"].startswith(f"BAD: wav2lip.pth is missing in {tmp_path}")
    assert found["musetalk"].startswith("missing: pytorch_model.bin")
    found = lines(CPU, **where, FACE_DETECTOR="yunet")
    assert found["yunet"].startswith("BAD: face_detection_yunet")


def test_the_models_of_the_next_start_are_named(tmp_path: Path) -> None:
    (tmp_path / "yunet_own.onnx").write_bytes(b"x")
    (tmp_path / "wav2lip.pth").write_bytes(b"x")
    found = lines(CPU, DATA_DIR=str(tmp_path), WEIGHTS_DIR=str(tmp_path), LIPSYNC_MODELS="auto")
    assert found["face detector"] == "yunet else haar"
    assert found["lip-sync"] == "viseme, wav2lip"
    assert found["wav2lip"] == "lipsync: files whole"


def test_a_file_other_than_the_published_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "face_detection_yunet_2023mar.onnx").write_bytes(b"x")
    found = lines(CPU, DATA_DIR=str(tmp_path), WEIGHTS_DIR=str(tmp_path))
    assert "has 1 bytes, should have 232589" in found["yunet"]


@pytest.mark.parametrize(("value", "code"), [("cpu", 0), ("gpu", 1)])
def test_the_exit_code_says_whether_the_server_would_start(
    value: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    for name, text in {"DEVICE": value, "PORT": "0", "OPS_PORT": "0", "DATA_DIR": tmp_path}.items():
        monkeypatch.setenv(name, str(text))
    assert diagnose.main() == code
    assert ("DEVICE='gpu'" in capsys.readouterr().out) is bool(code)
