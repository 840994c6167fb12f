"""Settings refuse what is wrong and keep the old names."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.settings import SettingsError, load_settings


def test_defaults_listen_on_loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "PORT", "OPS_PORT", "OPS_HOST"):
        monkeypatch.delenv(name, raising=False)
    settings = load_settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8383)
    assert (settings.ops_host, settings.ops_port) == ("127.0.0.1", 8384)


def test_a_bad_value_is_refused_with_its_name_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(SettingsError, match=r"PORT='http'.*integer"):
        load_settings()


def test_an_unknown_log_level_says_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(SettingsError, match="debug, info, warning or error"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("GUNICORN_GRACEFUL_TIMEOUT", "7", "graceful_timeout_s", 7.0),
        ("GUNICORN_LOG_LEVEL", "debug", "log_level", "debug"),
        ("GUNICORN_MAX_MEMORY", "4096", "gunicorn_max_memory", 4096),
        ("GUNICORN_WORKER_CLASS", "gevent", "gunicorn_worker_class", "gevent"),
    ],
)
def test_names_of_the_old_guides_are_honoured(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, field: str, expected: object
) -> None:
    monkeypatch.setenv(name, value)
    assert getattr(load_settings(), field) == expected


def test_folders_are_absolute_and_the_database_lies_in_the_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", "here")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    settings = load_settings()
    assert settings.data_dir == tmp_path / "here"
    assert settings.database == f"sqlite:///{tmp_path}/here/mouthpiece.db"


def test_an_empty_value_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "")
    assert load_settings().api_key is None


@pytest.mark.parametrize(
    ("environment", "bind"),
    [
        ({"HOST": "0.0.0.0", "PORT": "80"}, "0.0.0.0:80"),
        ({"HOST": "::1", "PORT": "80"}, "[::1]:80"),
        ({"GUNICORN_BIND": "0.0.0.0:9000", "PORT": "80"}, "0.0.0.0:9000"),
    ],
)
def test_the_main_listener_is_host_and_port_or_the_old_name(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], bind: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load_settings().bind == bind


def test_a_bad_old_bind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUNICORN_BIND", "unix:/tmp/socket")
    with pytest.raises(SettingsError, match="GUNICORN_BIND='unix:/tmp/socket': must be HOST:PORT"):
        load_settings()


def test_mirrors_must_be_addresses() -> None:
    kept = "https://a.example/x, source,http://b.example"
    assert load_settings(MODEL_MIRRORS=kept).model_mirrors == kept
    with pytest.raises(SettingsError, match="MODEL_MIRRORS=.*'ftp://a' must begin with http"):
        load_settings(MODEL_MIRRORS="https://a,ftp://a")
