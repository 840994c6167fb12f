"""`POST /v1/completions`: texts in the shape of OpenAI's completions, whole or streamed.

What it is not: chats (chat.py). Fields that this server cannot honour are refused, not passed over.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from apiflask import APIBlueprint
from flask import Response, jsonify

from models.text.request import TextPiece, TextRequest, TokenLogprob
from server.http.document import BODY_KEY, answers, json_or_events
from server.http.errors import bad_request
from server.http.prompts import check_count, check_new_tokens, copies, prompts_of, request_of
from server.http.reading import body_of, read_body
from server.http.service import Service, service
from server.http.sse import event, stream_response
from server.http.textshapes import Choice, Completion, CompletionBody, Logprobs, Sampling, Usage
from server.http.writing import Writing, Written, find_served
from server.texts import Served

bp = APIBlueprint("completions", __name__, url_prefix="/v1", tag="Completions")

DEFAULT_TOKENS = 16


@dataclass(frozen=True)
class Head:
    """What every chunk of an answer carries."""

    id: str
    created: int
    model: str


@bp.post("/completions")
@bp.doc(
    responses=answers({200: json_or_events("Completion")}, 400, 404, 413, 429, 503),
    extensions={BODY_KEY: body_of(CompletionBody)},
)
def complete() -> Response:
    """Go on from one or more prompts; with `stream`, as server-sent events."""
    here = service()
    body = read_body(CompletionBody)
    _check(body)
    served = find_served(here, body.model)
    prompts = prompts_of(served, body.prompt)
    requests = _requests(here, served, body, prompts)
    head = new_head("cmpl", served)
    read = sum(len(ids) for ids in prompts)
    if body.stream:
        return _stream(Writing(served, requests), head, body, read)
    written = Writing(served, requests).collect()
    return _whole(head, written, read, body.logprobs)


def new_head(prefix: str, served: Served) -> Head:
    """The head of a new answer."""
    return Head(f"{prefix}-{secrets.token_hex(12)}", int(time.time()), served.name)


def wants_usage(body: Sampling) -> bool:
    """Whether a stream ends with a chunk of usage."""
    return body.stream_options is not None and body.stream_options.include_usage


def check_stream_options(body: Sampling) -> None:
    """Refuse options of a stream where there is none.

    Raises:
        ApiError: 400.
    """
    if body.stream_options is not None and not body.stream:
        raise bad_request("stream_options needs stream=true", param="stream_options")


def _check(body: CompletionBody) -> None:
    check_stream_options(body)
    if body.suffix:
        raise bad_request(
            "suffix: these models only go on from a prompt; leave it out",
            param="suffix",
            code="unsupported",
        )
    if body.best_of is not None and body.best_of > (body.n or 1):
        raise bad_request(
            f"best_of={body.best_of}: choosing among more texts than n={body.n or 1} is not"
            " supported",
            param="best_of",
            code="unsupported",
        )
    if body.max_tokens == 0 and not body.echo:
        raise bad_request("max_tokens=0 needs echo=true", param="max_tokens")


def _requests(
    here: Service, served: Served, body: CompletionBody, prompts: list[list[int]]
) -> list[TextRequest]:
    count = DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens
    if body.max_tokens is not None:
        check_new_tokens(count, here.settings, "max_tokens")
    count = min(count, here.settings.max_new_tokens)
    check_count(len(prompts) * (body.n or 1), here.settings)
    made = []
    for ids in prompts:
        one = replace(
            request_of(served, body, ids, count),
            logprobs=body.logprobs,
            echo=bool(body.echo),
            stream=bool(body.stream),
        )
        made += copies(one, body.n or 1)
    return made


def _whole(head: Head, written: Sequence[Written], read: int, logprobs: int | None) -> Response:
    choices = [
        Choice(
            index=index,
            text=text.text,
            logprobs=None if logprobs is None else logprobs_of(text.logprobs, logprobs),
            finish_reason=text.finish,  # type: ignore[arg-type]  # stop or length by now
        )
        for index, text in enumerate(written)
    ]
    usage = usage_of(read, sum(text.tokens for text in written))
    made = Completion(
        id=head.id, created=head.created, model=head.model, choices=choices, usage=usage
    )
    return jsonify(made.model_dump(mode="json"))


def _stream(writing: Writing, head: Head, body: CompletionBody, read: int) -> Response:
    opening = {"id": head.id, "object": "text_completion", "created": head.created}
    # Many chunks differ in little: the same JSON around each is made once.
    front = json.dumps({**opening, "model": head.model})[:-1] + ', "choices": [{"index": '
    usage = ', "usage": null' if wants_usage(body) else ""
    count = body.logprobs

    def chunk(index: int, piece: TextPiece) -> str:
        finish = json.dumps(piece.finish_reason)
        chances = "null"
        if count is not None and piece.logprobs:
            chances = logprobs_of(piece.logprobs, count).model_dump_json()
        return (
            f'{front}{index}, "text": {json.dumps(piece.text)}, "logprobs": {chances},'
            f' "finish_reason": {finish}}}]{usage}}}'
        )

    def closing() -> list[str]:
        if not wants_usage(body):
            return []
        figures = usage_of(read, sum(writing.tokens)).model_dump()
        last = {**opening, "model": head.model, "choices": [], "usage": figures}
        return [event(json.dumps(last))]

    return stream_response(writing, chunk, (), closing)


def usage_of(read: int, written: int) -> Usage:
    """Usage of `read` prompt tokens and `written` new ones."""
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


def logprobs_of(entries: Sequence[TokenLogprob], count: int) -> Logprobs:
    """OpenAI's shape of them; `top_logprobs` is null where none were asked for."""
    tops: list[dict[str, float] | None] | None = None
    if count:
        tops = [None if entry.logprob is None else dict(entry.top) for entry in entries]
    return Logprobs(
        tokens=[entry.text for entry in entries],
        token_logprobs=[entry.logprob for entry in entries],
        top_logprobs=tops,
        text_offset=[entry.offset for entry in entries],
    )
