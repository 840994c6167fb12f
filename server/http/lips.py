"""The lip-sync models as routes see them: which there are, how far each is, which a job may name.

What it is not: loading, or the choice of what is loaded (server/lineup.py).
"""

from __future__ import annotations

from models.catalog import ENTRIES, ModelEntry, ModelKind
from models.files import family, lacking
from server.http.errors import NO_RETRY, ApiError, Problem, bad_request
from server.http.service import Service
from server.lineup import line_up
from server.settings import SettingsError
from server.texts import LOADING, READY

NOT_LOADED = "not loaded"
MISSING = "missing"


def lip_names(here: Service) -> list[str]:
    """Names of all lip-sync models, the default first."""
    known = [entry.name for entry in ENTRIES if entry.kind is ModelKind.LIPSYNC]
    return list(dict.fromkeys((here.settings.lipsync_model, *sorted(known))))


def standing(here: Service, entry: ModelEntry) -> str:
    """ "ready", "loading", "failed: ...", "missing: ..." or "not loaded" for a model, together with
    those it needs.
    """
    told = [word for each in family(entry) if (word := here.state.models.get(each.name, ""))]
    bad = [word for word in told if word != READY]
    if bad and not bad[0].startswith(MISSING):  # a file may have come since
        return bad[0]
    if not bad and entry.name in here.state.models:
        return READY
    lack = lacking(entry, here.settings.weights_dir)
    return f"{MISSING}: {lack}" if lack else NOT_LOADED


def lip_standing(here: Service, name: str) -> str:
    """The same for a lip-sync model by its name."""
    entry = next((entry for entry in ENTRIES if entry.name == name), None)
    if entry is None:  # of another catalogue
        return here.state.models.get(name, LOADING)
    word = standing(here, entry)
    waits = word == NOT_LOADED and not here.state.lipsync and name in _meant(here)
    return LOADING if waits else word


def lacks_restorer(here: Service) -> bool:
    """Whether it is known now that faces will not be restored."""
    entries = [entry for entry in ENTRIES if entry.kind is ModelKind.RESTORE]
    return all(standing(here, entry).startswith((MISSING, "failed")) for entry in entries)


def check_model(here: Service, name: str) -> None:
    """Refuse a job for a model that this server does not work with.

    Raises:
        ApiError: 400 with what to do; 503 where the model could not be loaded.
    """
    names = lip_names(here)
    if name not in names:
        known = ", ".join(sorted(names))
        raise bad_request(f"model {name!r} is not known; allowed: {known}", param="model")
    word, _, why = lip_standing(here, name).partition(": ")
    if word == MISSING:
        raise bad_request(f"model {name!r}: {why}", param="model", code="model_missing")
    if word == NOT_LOADED:
        message = (
            f"model {name!r} is not loaded; LIPSYNC_MODELS={name} loads it when the server starts."
            f" Loaded: {', '.join(_meant(here))}"
        )
        raise bad_request(message, param="model", code="model_not_loaded")
    if word == "failed":
        message = f"model {name!r} could not be loaded: {why}"
        raise ApiError(Problem(503, "model_failed", message, "model", dict(NO_RETRY)))


def _meant(here: Service) -> tuple[str, ...]:
    """What the worker was told to load, or will be."""
    if here.state.lipsync:
        return here.state.lipsync
    try:
        return line_up(here.settings).lipsync
    except SettingsError:  # the boot says so
        return (here.settings.lipsync_model,)
