"""The registry: one load per model, clear words about what is missing."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from models.catalog import ModelEntry, ModelFile, ModelKind
from models.registry import ModelError, Registry
from runtime.sessions import ProviderError

HERE = __name__
slow_s = 0.0


def load(device: str, weights_dir: Path) -> object:
    """A loader that gives back what it was told."""
    time.sleep(slow_s)
    return device, weights_dir


def load_broken(device: str, weights_dir: Path) -> object:
    raise OSError("truncated")


def load_elsewhere(device: str, weights_dir: Path) -> object:
    raise ProviderError("runs on the CPU")


def entry(name: str = "m", loader: str = "load", *files: ModelFile) -> ModelEntry:
    return ModelEntry(name, ModelKind.AUDIO, f"{HERE}:{loader}", files)


def test_a_model_is_loaded_on_the_device_and_given_out(tmp_path: Path) -> None:
    registry = Registry([entry()])
    registry.load_all("cpu", tmp_path, ["m"])
    assert registry.get("m") == ("cpu", tmp_path)
    assert registry.status() == {"m": "ready"}


def test_threads_that_ask_at_once_cause_one_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{HERE}.slow_s", 0.1)
    registry = Registry([entry("a"), entry("b")])
    threads = [
        threading.Thread(target=registry.load_all, args=("cpu", tmp_path, ["a", "b"]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.loads == {"a": 1, "b": 1}


def test_the_status_is_told_at_every_change(tmp_path: Path) -> None:
    registry = Registry([entry()])
    seen: list[dict[str, str]] = []
    registry.on_change = lambda: seen.append(registry.status())
    registry.load_all("cpu", tmp_path, ["m"])
    assert seen == [{"m": "loading"}, {"m": "ready"}]


def test_an_unknown_model_is_named_beside_the_known_ones(tmp_path: Path) -> None:
    registry = Registry([entry("b"), entry("a")])
    with pytest.raises(ModelError, match="no model is called 'x'; there are: a, b"):
        registry.load_all("cpu", tmp_path, ["x"])


def test_a_model_that_nobody_loaded_is_not_given_out() -> None:
    with pytest.raises(ModelError, match=r"model 'm' is not loaded \(not asked for\)"):
        Registry([entry()]).get("m")


def test_a_failed_load_says_model_device_and_cause_and_may_be_tried_again(tmp_path: Path) -> None:
    registry = Registry([entry(loader="load_broken")])
    with pytest.raises(ModelError, match="'m' cannot be loaded on cpu: OSError: truncated") as info:
        registry.load_all("cpu", tmp_path, ["m"])
    assert not info.value.final
    assert registry.status() == {"m": "failed: OSError: truncated"}
    with pytest.raises(ModelError, match="failed: OSError: truncated"):
        registry.get("m")
    with pytest.raises(ModelError, match="truncated"):
        registry.load_all("cpu", tmp_path, ["m"])
    assert registry.loads["m"] == 2


def test_a_model_that_would_run_elsewhere_is_an_error_of_the_device(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as info:
        Registry([entry(loader="load_elsewhere")]).load_all("cuda", tmp_path, ["m"])
    assert info.value.on_device
    assert info.value.final


def test_a_loader_that_does_not_exist_is_final(tmp_path: Path) -> None:
    gone = ModelEntry("m", ModelKind.AUDIO, "models.no_such_module:load")
    with pytest.raises(ModelError, match="no_such_module") as info:
        Registry([gone]).load_all("cpu", tmp_path, ["m"])
    assert info.value.final


def test_a_missing_file_names_file_folder_and_remedy(tmp_path: Path) -> None:
    fetched = ModelFile("w/model.bin", 3, "ab", "https://host.example/model.bin")
    registry = Registry([entry("m", "load", fetched)])
    with pytest.raises(ModelError) as info:
        registry.load_all("cpu", tmp_path, ["m"])
    for part in ("model.bin", str(tmp_path / "w"), "download_models --only m", "WEIGHTS_DIR"):
        assert part in str(info.value)
    assert registry.status()["m"].startswith("missing: ")
    assert registry.loads["m"] == 0


def test_a_user_s_own_file_under_a_published_name_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"trained further")
    registry = Registry([entry("m", "load", ModelFile("model.bin", 3, "ab"))])
    registry.load_all("cpu", tmp_path, ["m"])
    assert registry.status() == {"m": "ready"}


def test_a_load_that_fails_says_where_a_file_is_not_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"cut")
    published = ModelFile("model.bin", 5, "ab", "https://host.example/model.bin")
    registry = Registry([entry("m", "load_broken", published)])
    with pytest.raises(ModelError, match="has 3 bytes, should have 5: .*--only m") as info:
        registry.load_all("cpu", tmp_path, ["m"])
    assert "OSError: truncated" in str(info.value)


def test_a_file_that_ships_with_the_code_and_was_changed_is_not_loaded(tmp_path: Path) -> None:
    shipped = ModelFile("models/assets/viseme_audio.onnx", 3, "ab")
    with pytest.raises(ModelError, match="should have 3: it ships with the code"):
        Registry([entry("m", "load", shipped)]).load_all("cpu", tmp_path, ["m"])
