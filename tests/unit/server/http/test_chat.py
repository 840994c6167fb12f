"""POST /v1/chat/completions, where a template is configured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.http.templates import TemplateFaultError, load_template, render
from tests.unit.server.http.house import House
from tests.unit.server.http.test_completions import events
from tests.unit.server.http.writers import ScriptedEngine, texts

URL = "/v1/chat/completions"
SAID = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]


class Chats:
    """A house with a template, and its engine."""

    def __init__(self, folder: Path, template: str | None) -> None:
        self.engine = ScriptedEngine()
        more = {} if template is None else {"chat_template": template}
        self.house = House(folder, texts=texts(folder, self.engine), **more)

    def say(self, **fields: Any) -> Any:
        return self.house.post(URL, json={"messages": SAID, **fields})

    @property
    def prompt(self) -> str:
        return bytes(self.engine.requests[-1].prompt_ids).decode()


@pytest.fixture
def plain(tmp_path: Path) -> Any:
    chats = Chats(tmp_path, "plain")
    yield chats
    chats.house.close()


def test_without_a_template_it_is_a_clear_400(tmp_path: Path) -> None:
    chats = Chats(tmp_path, None)
    answer = chats.say()
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "chat_not_configured")
    assert "CHAT_TEMPLATE" in answer.json["error"]["message"]
    chats.house.close()


def test_a_reply_has_openais_shape_and_the_prompt_is_laid_out(plain: Chats) -> None:
    body = plain.say(max_completion_tokens=9).json
    assert plain.prompt == "System: Be kind.\nUser: Hi\nAssistant:"
    assert plain.engine.requests[0].stop == ("\nUser:", "\nSystem:")
    assert plain.engine.requests[0].max_tokens == 9
    assert body["object"] == "chat.completion"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "one two"},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert body["usage"]["completion_tokens"] == 2


def test_a_stream_begins_with_the_role_and_ends_with_usage(plain: Chats) -> None:
    chunks = events(plain.say(stream=True, n=1, stream_options={"include_usage": True}))
    first, one, two, last = chunks
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert one["choices"][0]["delta"] == {"content": "one"}
    assert two["choices"][0]["finish_reason"] == "stop"
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 2
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert "usage" not in events(plain.say(stream=True))[-1]


def test_a_template_of_the_users_own_is_used(tmp_path: Path) -> None:
    path = tmp_path / "my.jinja"
    path.write_text("{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}>")
    chats = Chats(tmp_path, str(path))
    message = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
    assert chats.say(messages=[message], stop="x").status_code == 200
    assert chats.prompt == "[user]Hi>"
    assert chats.engine.requests[0].stop == ("x",)
    chats.house.close()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"tools": []}, "tools"),
        ({"logprobs": True}, "logprobs"),
        ({"max_tokens": 501}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"n": 100}, "n"),
    ],
)
def test_what_is_not_allowed_is_400(plain: Chats, fields: dict[str, Any], param: str) -> None:
    answer = plain.say(**fields)
    assert (answer.status_code, answer.json["error"]["param"]) == (400, param)


def test_a_template_that_refuses_the_messages_is_400(tmp_path: Path) -> None:
    path = tmp_path / "strict.jinja"
    path.write_text("{{ raise_exception('only one message') }}")
    chats = Chats(tmp_path, str(path))
    answer = chats.say()
    assert (answer.status_code, answer.json["error"]["param"]) == (400, "messages")
    assert "only one message" in answer.json["error"]["message"]
    chats.house.close()


def test_a_template_that_is_gone_is_503(tmp_path: Path) -> None:
    path = tmp_path / "gone.jinja"
    path.write_text("x")
    chats = Chats(tmp_path, str(path))
    path.unlink()
    assert chats.say().json["error"]["code"] == "chat_template"
    chats.house.close()


def test_chatml_ends_where_the_reply_begins() -> None:
    made = render(load_template("chatml"), [("user", "Hi")])
    assert made == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_a_template_is_kept_in_its_sandbox(tmp_path: Path) -> None:
    path = tmp_path / "evil.jinja"
    path.write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(TemplateFaultError, match="unsafe"):
        render(load_template(str(path)), [])
