"""Device slots: found without CUDA, in the order of who speaks first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server.settings import SettingsError, load_settings
from server.slots import find_slots, nvidia_gpus, parse_listing

WHOLE = """GPU 0: NVIDIA H200 (UUID: GPU-1111)
GPU 1: NVIDIA H200 (UUID: GPU-2222)
"""
DIVIDED = """GPU 0: NVIDIA H200 (UUID: GPU-1111)
  MIG 3g.71gb     Device  0: (UUID: MIG-aaaa)
  MIG 3g.71gb     Device  1: (UUID: MIG-bbbb)
GPU 1: NVIDIA H200 (UUID: GPU-2222)
"""


def two() -> tuple[str, ...]:
    return ("0", "1")


def test_device_cpu_means_one_cpu_slot_whatever_there_is() -> None:
    (slot,) = find_slots(load_settings(DEVICE="cpu"), "0", two)
    assert (slot.device, slot.name, slot.why) == ("", "cpu", "DEVICE=cpu")


def test_on_a_cpu_the_names_in_device_slots_are_places_of_their_own() -> None:
    slots = find_slots(load_settings(DEVICE="cpu", DEVICE_SLOTS="0,1,left/2"), "0", two)
    assert [(slot.index, slot.device, slot.name) for slot in slots] == [
        (0, "", "cpu-0"),
        (1, "", "cpu-1"),
        (2, "", "cpu-left_2"),
    ]
    assert {slot.why for slot in slots} == {"DEVICE=cpu"}
    assert [slot.label for slot in slots][0] == "cpu-0"
    with pytest.raises(SettingsError, match="once only"):
        find_slots(load_settings(DEVICE="cpu", DEVICE_SLOTS="1,1"), None)


def test_device_slots_win_over_cuda_visible_devices() -> None:
    slots = find_slots(load_settings(DEVICE_SLOTS="3, GPU-ab/c"), "0", two)
    assert [(slot.index, slot.device, slot.name) for slot in slots] == [
        (0, "3", "gpu-3"),
        (1, "GPU-ab/c", "gpu-GPU-ab_c"),
    ]


def test_cuda_visible_devices_win_over_the_machine_s_gpus() -> None:
    assert [slot.device for slot in find_slots(load_settings(), "5,7", two)] == ["5", "7"]


@pytest.mark.parametrize("hidden", ["", "-1", "-1,0"])
def test_cuda_visible_devices_may_hide_every_gpu(hidden: str) -> None:
    (slot,) = find_slots(load_settings(), hidden, two)
    assert slot.device == ""
    assert "CUDA_VISIBLE_DEVICES" in slot.why


def test_without_either_every_gpu_is_a_slot() -> None:
    assert [slot.device for slot in find_slots(load_settings(), None, two)] == ["0", "1"]


def test_without_a_gpu_there_is_one_cpu_slot() -> None:
    (slot,) = find_slots(load_settings(), None, tuple)
    assert (slot.device, slot.why) == ("", "no NVIDIA GPU was found")


def test_a_device_named_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="DEVICE_SLOTS=0,1,0: a device may be named once"):
        find_slots(load_settings(DEVICE_SLOTS="0,1,0"), None)


def test_whole_gpus_are_numbers_and_divided_ones_their_parts() -> None:
    assert parse_listing(WHOLE) == ("0", "1")
    assert parse_listing(DIVIDED) == ("MIG-aaaa", "MIG-bbbb", "1")
    assert parse_listing("No devices were found") == ()


def test_nvidia_smi_is_asked_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{WHOLE}END\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert nvidia_gpus() == ("0", "1")


def test_without_nvidia_smi_the_device_files_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia_gpus() == tuple(
        str(index) for index, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))
    )
