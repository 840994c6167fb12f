"""`/v1/models`: what models this server has, and how far each is.

What it is not: loading. A text model on demand is loaded by the first request that names it.
"""

from __future__ import annotations

from apiflask import APIBlueprint

from models.catalog import ENTRIES
from server.http.document import refusals
from server.http.errors import NO_RETRY, ApiError, Problem
from server.http.lips import lip_names, lip_standing
from server.http.service import Service, service
from server.http.textshapes import ModelCard, ModelList
from server.texts import Source

bp = APIBlueprint("models", __name__, url_prefix="/v1/models", tag="Models")

_OWNER = "mouthpiece"


@bp.get("")
@bp.output(ModelList)
def list_models() -> ModelList:
    """List the models, text models first."""
    return ModelList(data=_cards(service()))


@bp.get("/<model_id>")
@bp.output(ModelCard)
@bp.doc(responses=refusals(404))
def retrieve(model_id: str) -> ModelCard:
    """Look at a model."""
    cards = _cards(service())
    for card in cards:
        if card.id == model_id:
            return card
    known = ", ".join(card.id for card in cards)
    message = f"no model is called {model_id!r}; there are: {known}"
    raise ApiError(Problem(404, "model_not_found", message, "model", dict(NO_RETRY)))


def _cards(here: Service) -> list[ModelCard]:
    about = {served.name: served.model.about for served in here.texts.served()}
    texts = [_text(here, source, about.get(source.name, {})) for source in here.texts.sources]
    return [*texts, *(_lipsync(here, name) for name in lip_names(here))]


def _text(here: Service, source: Source, about: dict[str, object]) -> ModelCard:
    return ModelCard(
        id=source.name,
        created=int(source.created_at),
        owned_by=_OWNER,
        kind="text",
        status=here.texts.statuses()[source.name],
        default=source.name == here.texts.default,
        about=about,
    )


def _lipsync(here: Service, name: str) -> ModelCard:
    return ModelCard(
        id=name,
        created=int(here.state.started_at),
        owned_by=_OWNER,
        kind="lipsync",
        status=lip_standing(here, name),
        default=name == here.settings.lipsync_model,
        about=_about(name),
    )


def _about(name: str) -> dict[str, object]:
    entry = next((entry for entry in ENTRIES if entry.name == name), None)
    return {} if entry is None else {"licence": entry.licence, "source": entry.source}
