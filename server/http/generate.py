"""`POST /generate`: the contract of nano-gpt's clients.

What it is not: OpenAI's shapes (completions.py).
"""

from __future__ import annotations

from apiflask import APIBlueprint

from models.text.request import TextRequest
from server.http.document import BODY_KEY, refusals
from server.http.errors import bad_request
from server.http.prompts import check_new_tokens, encode
from server.http.reading import body_of, read_body
from server.http.service import service
from server.http.textshapes import GenerateBody, Generated
from server.http.writing import Writing, find_served

bp = APIBlueprint("generate", __name__, tag="Generate")


@bp.post("/generate")
@bp.output(Generated)
@bp.doc(responses=refusals(400, 404, 413, 429, 503), extensions={BODY_KEY: body_of(GenerateBody)})
def generate() -> Generated:
    """Go on from a prompt, with the default text model."""
    here = service()
    body = read_body(GenerateBody)
    limit = here.settings.max_prompt_chars
    if len(body.prompt) > limit:
        raise bad_request(
            f"prompt has {len(body.prompt)} characters; at most {limit} (limit MAX_PROMPT_CHARS)",
            param="prompt",
        )
    check_new_tokens(body.max_length, here.settings, "max_length")
    served = find_served(here, None)
    wanted = TextRequest(
        prompt_ids=tuple(encode(served, body.prompt)),
        max_tokens=body.max_length,
        temperature=body.temperature,
        top_k=body.top_k,
        stream=False,
    )
    (written,) = Writing(served, [wanted]).collect()
    return Generated(
        prompt=body.prompt,
        generated_text=body.prompt + written.text,
        tokens_generated=written.tokens,
    )
