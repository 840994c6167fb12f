"""From a request's fields to what the engine takes: token ids, limits, sampling.

What it is not: the shape of bodies (textshapes.py) or the writing (writing.py).
"""

from __future__ import annotations

from dataclasses import replace

from models.text.base import TextError
from models.text.request import TextRequest
from server.http.errors import ApiError, bad_request
from server.http.reading import shown
from server.http.textshapes import Sampling
from server.settings import Settings
from server.texts import Served

Prompt = str | list[str] | list[int] | list[list[int]] | None


def prompts_of(served: Served, prompt: Prompt) -> list[list[int]]:
    """The token ids of every prompt of a request.

    Raises:
        ApiError: 400; a list is empty, an id is unknown or a character has none.
    """
    if prompt is None or isinstance(prompt, str):
        return [encode(served, prompt or "")]
    if not prompt:
        raise bad_request("prompt is an empty list", param="prompt")
    if isinstance(prompt[0], int):
        return [_known(served, prompt)]
    return [
        encode(served, part) if isinstance(part, str) else _known(served, part) for part in prompt
    ]


def encode(served: Served, text: str, param: str = "prompt") -> list[int]:
    """The token ids of a text; of none, the id that begins a text.

    Raises:
        ApiError: 400; a character has no id, or nothing can begin a text.
    """
    tokenizer = served.model.tokenizer
    try:
        ids = tokenizer.encode(text)
    except TextError as error:
        raise bad_request(f"{param}: {error}", param=param) from error
    if ids:
        return ids
    if tokenizer.eos_id is None:
        raise bad_request(f"{param} is empty; this model needs a text to go on from", param=param)
    return [tokenizer.eos_id]


def _known(served: Served, ids: list[int]) -> list[int]:
    size = served.model.tokenizer.size
    if not ids:
        return encode(served, "")
    for token_id in ids:
        if token_id >= size:
            message = f"prompt: there is no token {token_id}; ids go from 0 to {size - 1}"
            raise bad_request(message, param="prompt")
    return ids


def check_new_tokens(count: int, settings: Settings, param: str) -> int:
    """A number of new tokens within the limit.

    Raises:
        ApiError: 400.
    """
    if count > settings.max_new_tokens:
        limit = f"{settings.max_new_tokens} (limit MAX_NEW_TOKENS)"
        raise bad_request(f"{param}={count}: at most {limit}", param=param)
    return count


def check_count(texts: int, settings: Settings) -> None:
    """Refuse more texts in one request than an idle server would take.

    Raises:
        ApiError: 400.
    """
    limit = settings.text_slots + settings.text_queue
    if texts > limit:
        raise bad_request(
            f"{texts} texts are asked for (prompts times n); at most {limit} (limit TEXT_SLOTS and"
            " TEXT_QUEUE)",
            param="n",
        )


def request_of(served: Served, body: Sampling, ids: list[int], max_tokens: int) -> TextRequest:
    """What the engine is asked for, from the fields that completions and chats share.

    Raises:
        ApiError: 400; a biased token does not exist.
    """
    stop = body.stop or []
    return TextRequest(
        prompt_ids=tuple(ids),
        max_tokens=max_tokens,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_k=body.top_k,
        top_p=1.0 if body.top_p is None else body.top_p,
        seed=body.seed,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=_biases(served, body.logit_bias or {}),
        ignore_eos=bool(body.ignore_eos),
    )


def copies(request: TextRequest, count: int) -> list[TextRequest]:
    """The same request `count` times; a given seed is counted on, so that texts differ."""
    if request.seed is None:
        return [request] * count
    return [replace(request, seed=request.seed + index) for index in range(count)]


def _biases(served: Served, given: dict[str, float]) -> dict[int, float]:
    size = served.model.tokenizer.size
    found = {}
    for name, bias in given.items():
        if not name.isdecimal() or int(name) >= size:
            raise _no_bias(name, size)
        found[int(name)] = bias
    return found


def _no_bias(name: str, size: int) -> ApiError:
    message = f"logit_bias: {shown(name)} is not a token id; ids go from 0 to {size - 1}"
    return bad_request(message, param="logit_bias")
