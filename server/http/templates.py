"""Chat templates: messages into a prompt. Two are built in; others are Jinja2 files.

What it is not: a route. Templates run in Jinja2's sandbox, as files travel with checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

_PLAIN = """\
{% for message in messages %}
{{ message.role | capitalize }}: {{ message.content }}
{% endfor %}
Assistant:"""
_CHATML = """\
{% for message in messages %}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}
<|im_start|>assistant
"""


@dataclass(frozen=True)
class ChatTemplate:
    """A template, and the texts that end a reply."""

    source: str
    stop: tuple[str, ...] = ()


_BUILT_IN = {
    "plain": ChatTemplate(_PLAIN, ("\nUser:", "\nSystem:")),
    "chatml": ChatTemplate(_CHATML, ("<|im_end|>",)),
}


class TemplateFaultError(ValueError):
    """A template cannot be read, or refuses the messages."""


@lru_cache(maxsize=4)
def load_template(name: str) -> ChatTemplate:
    """A built-in template by name, or one from a file.

    Raises:
        TemplateFaultError: the file cannot be read.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    try:
        return ChatTemplate(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateFaultError(f"CHAT_TEMPLATE={name!r} cannot be read: {error}") from error


def render(template: ChatTemplate, messages: Sequence[tuple[str, str]]) -> str:
    """The prompt of (role, content) pairs, up to where the reply begins.

    Raises:
        TemplateFaultError: the template fails on them.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.globals["raise_exception"] = _refuse
    values = [{"role": role, "content": content} for role, content in messages]
    try:
        made = environment.from_string(template.source)
        return made.render(messages=values, add_generation_prompt=True, bos_token="", eos_token="")
    except (TemplateError, TypeError, ValueError) as error:
        raise TemplateFaultError(f"the chat template fails: {error}") from error


def _refuse(message: str) -> None:
    raise TemplateError(message)
