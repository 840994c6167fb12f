"""The shapes of text routes: bodies and answers, as pydantic models; the OpenAPI document is made
from them.

What it is not: rules that need a model or a setting (prompts.py and the routes hold those).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
StopText = Annotated[str, Field(min_length=1, max_length=256)]
Stops = Annotated[list[StopText], Field(max_length=4)]
TokenId = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class GenerateBody(BaseModel):
    """A prompt, in the words of nano-gpt's clients."""

    # Its clients send fields of their own; the first server passed them over.
    model_config = ConfigDict(strict=True, extra="ignore")

    prompt: str = Field(min_length=1, description="At most MAX_PROMPT_CHARS characters.")
    max_length: int = Field(100, ge=1, description="New tokens, at most MAX_NEW_TOKENS.")
    temperature: Temperature = Field(0.8, description="0 takes the likeliest token.")
    top_k: int | None = Field(50, ge=1, description="null: every token may be drawn.")


class Generated(BaseModel):
    """What was written."""

    prompt: str
    generated_text: str = Field(description="The prompt and what follows it.")
    tokens_generated: int


class StreamOptions(BaseModel):
    """What a stream carries beside text."""

    model_config = ConfigDict(strict=True, extra="forbid")

    include_usage: bool = False
    include_obfuscation: bool | None = Field(None, description="Accepted, without effect.")


class Sampling(BaseModel):
    """What completions and chat share."""

    # An unknown field is refused: it may change the meaning of the request.
    model_config = ConfigDict(strict=True, extra="forbid")

    model: str | None = Field(None, description="Default: the first text model.")
    temperature: Temperature | None = Field(None, description="Default 1; 0 is greedy.")
    top_p: Share | None = None
    top_k: int | None = Field(None, ge=1, description="Draw from the k likeliest tokens.")
    n: int | None = Field(None, ge=1, le=128, description="Texts for each prompt; default 1.")
    seed: Seed | None = Field(None, description="The same seed gives the same text.")
    stop: str | Stops | None = Field(None, description="Up to four texts that end the output.")
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Bias] | None = Field(None, description="Token id to bias, -100 to 100.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool | None = Field(None, description="Write on after the end-of-text token.")
    user: str | None = Field(None, description="Accepted, without effect.")
    metadata: dict[str, str] | None = Field(None, description="Accepted, without effect.")


class CompletionBody(Sampling):
    """A completion, in the shape of OpenAI's API."""

    prompt: str | list[str] | list[TokenId] | list[list[TokenId]] | None = Field(
        None, description="Texts or token ids; default: the start of a text."
    )
    max_tokens: int | None = Field(None, ge=0, description="At most MAX_NEW_TOKENS; default 16.")
    echo: bool | None = Field(None, description="Give the prompt back before the text.")
    logprobs: int | None = Field(None, ge=0, le=5, description="Likeliest tokens to report.")
    best_of: int | None = Field(None, ge=1, description="Only as many as n.")
    suffix: str | None = Field(None, description="Not supported: must be empty.")


class TextPart(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(strict=True, extra="forbid")

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of a chat."""

    model_config = ConfigDict(strict=True, extra="forbid")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatBody(Sampling):
    """A chat, in the shape of OpenAI's API."""

    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1, description="At most MAX_NEW_TOKENS.")
    max_completion_tokens: int | None = Field(None, ge=1, description="The newer name.")
    logprobs: Literal[False] | None = Field(None, description="Not supported for chats.")


class Logprobs(BaseModel):
    """How likely the tokens of a choice were."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class Choice(BaseModel):
    """One text."""

    index: int
    text: str
    logprobs: Logprobs | None = None
    finish_reason: Literal["stop", "length"] | None


class Usage(BaseModel):
    """What was read and written, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """A completion, whole or a chunk of one."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None


class ChatMessage(BaseModel):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    content: str


class ChatChoice(BaseModel):
    """One reply."""

    index: int
    message: ChatMessage
    logprobs: None = None
    finish_reason: Literal["stop", "length"] | None


class ChatCompletion(BaseModel):
    """A reply to a chat."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class ModelCard(BaseModel):
    """A model that this server has."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    kind: Literal["text", "lipsync"]
    status: str = Field(description="ready, loading, on demand, not loaded, missing: …, failed: …")
    default: bool = Field(description="Used where a request names none.")
    about: dict[str, Any] = Field(description="What is known of it, e.g. its parameters.")


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
