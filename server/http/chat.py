"""`POST /v1/chat/completions`: chats, where CHAT_TEMPLATE says how messages become a prompt.

What it is not: a way to make a base model answer questions: a template only lays the text out.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from apiflask import APIBlueprint
from flask import Response, jsonify

from models.text.request import TextPiece, TextRequest
from server.http.completions import (
    Head,
    check_stream_options,
    new_head,
    usage_of,
    wants_usage,
)
from server.http.document import BODY_KEY, answers, json_or_events
from server.http.errors import NO_RETRY, ApiError, Problem, bad_request
from server.http.prompts import check_count, check_new_tokens, copies, encode, request_of
from server.http.reading import body_of, read_body
from server.http.service import Service, service
from server.http.sse import event, stream_response
from server.http.templates import ChatTemplate, TemplateFaultError, load_template, render
from server.http.textshapes import ChatBody, ChatChoice, ChatCompletion, ChatMessage
from server.http.writing import Writing, Written, find_served
from server.texts import Served

bp = APIBlueprint("chat", __name__, url_prefix="/v1/chat", tag="Chat")


@bp.post("/completions")
@bp.doc(
    responses=answers({200: json_or_events("ChatCompletion")}, 400, 404, 413, 429, 503),
    extensions={BODY_KEY: body_of(ChatBody)},
)
def chat() -> Response:
    """Reply to messages; with `stream`, as server-sent events."""
    here = service()
    template = _template(here)
    body = read_body(ChatBody)
    check_stream_options(body)
    served = find_served(here, body.model)
    ids = encode(served, _prompt(template, body), "messages")
    requests = _requests(here, served, body, ids, template)
    head = new_head("chatcmpl", served)
    if body.stream:
        return _stream(Writing(served, requests), head, body, len(ids))
    return _whole(head, Writing(served, requests).collect(), len(ids))


def _template(here: Service) -> ChatTemplate:
    name = here.settings.chat_template
    if name is None:
        raise bad_request(
            "chat is not configured: set CHAT_TEMPLATE to plain, chatml or a Jinja2 file, or use"
            " /v1/completions",
            code="chat_not_configured",
        )
    try:
        return load_template(name)
    except TemplateFaultError as error:
        headers = dict(NO_RETRY)
        raise ApiError(Problem(503, "chat_template", str(error), headers=headers)) from error


def _prompt(template: ChatTemplate, body: ChatBody) -> str:
    try:
        return render(template, [(message.role, message.text) for message in body.messages])
    except TemplateFaultError as error:
        raise bad_request(str(error), param="messages", code="chat_template") from error


def _requests(
    here: Service, served: Served, body: ChatBody, ids: list[int], template: ChatTemplate
) -> list[TextRequest]:
    count = here.settings.max_new_tokens
    for name in ("max_tokens", "max_completion_tokens"):
        given = getattr(body, name)
        if given is not None:
            count = check_new_tokens(given, here.settings, name)
    check_count(body.n or 1, here.settings)
    made = request_of(served, body, ids, count)
    one = replace(made, stop=(*made.stop, *template.stop), stream=bool(body.stream))
    return copies(one, body.n or 1)


def _whole(head: Head, written: list[Written], read: int) -> Response:
    choices = [
        ChatChoice(
            index=index,
            message=ChatMessage(content=text.text),
            finish_reason=text.finish,  # type: ignore[arg-type]  # stop or length by now
        )
        for index, text in enumerate(written)
    ]
    usage = usage_of(read, sum(text.tokens for text in written))
    made = ChatCompletion(
        id=head.id, created=head.created, model=head.model, choices=choices, usage=usage
    )
    return jsonify(made.model_dump(mode="json"))


def _stream(writing: Writing, head: Head, body: ChatBody, read: int) -> Response:
    base = {
        "id": head.id,
        "object": "chat.completion.chunk",
        "created": head.created,
        "model": head.model,
    }
    more: dict[str, Any] = {"usage": None} if wants_usage(body) else {}

    def shape(index: int, delta: dict[str, str], finish: str | None) -> str:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return json.dumps({**base, "choices": [choice], **more})

    def chunk(index: int, piece: TextPiece) -> str:
        delta = {"content": piece.text} if piece.text else {}
        return shape(index, delta, piece.finish_reason)

    def closing() -> list[str]:
        if not more:
            return []
        figures = usage_of(read, sum(writing.tokens)).model_dump()
        return [event(json.dumps({**base, "choices": [], "usage": figures}))]

    count = body.n or 1
    roles = {"role": "assistant", "content": ""}
    opening = [event(shape(index, roles, None)) for index in range(count)]
    return stream_response(writing, chunk, opening, closing)
