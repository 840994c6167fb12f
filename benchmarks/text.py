"""Text generation against its peers, side by side in one run: GPT-2 124M, seeded weights, greedy.

    .venv/bin/pip install -r requirements-bench.txt
    python -m benchmarks.text [--tokens 64] [--quick]

Peers: Hugging Face `generate` (fp32), a naive loop that runs the whole context for every token, and
LitServe with its own batching over Hugging Face. Each turn is a process of its own; they run one
after the other with the same threads. Prints a table and, last, one line of JSON. What it is not: a
measure of text quality, since the weights are random.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import requests

from scripts.demo import free_ports, running_server

ROOT = Path(__file__).resolve().parent.parent
RANKS = ROOT.parent / "shared" / "weights" / "gpt2.tiktoken"
VOCABULARY = 50257
END_OF_TEXT = 50256
PROMPT_TOKENS = 16
SAME_TOKENS = 200
SAME_PROMPTS = 5


@dataclass(frozen=True)
class Load:
    """What many clients got: tokens per second in sum, requests per second, seconds to the first
    token (95th percentile; 0 where the peer does not stream).
    """

    tokens_per_s: float
    requests_per_s: float
    first_p95_s: float


def prompts(count: int) -> list[list[int]]:
    """Seeded prompts of token ids."""
    chance = random.Random(1)  # noqa: S311 - a benchmark's inputs
    return [[chance.randrange(VOCABULARY - 1) for _ in range(PROMPT_TOKENS)] for _ in range(count)]


def child(turn: str, *arguments: str) -> dict[str, Any]:
    """Run one turn in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.text", "--turn", turn, *arguments]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError(f"turn {turn}: {made.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(made.stdout.strip().splitlines()[-1])
    return found


def load_of(count: int, tokens: int, ask: Callable[[list[int]], tuple[int, float]]) -> Load:
    """`count` clients at once, twice as many requests, one after the other each.

    `ask` sends one prompt; it returns the tokens it got and the seconds to the first.
    """
    ask(prompts(1)[0])
    asked = prompts(2 * count)
    began = time.perf_counter()
    with ThreadPoolExecutor(count) as clients:
        answers = list(clients.map(ask, asked))
    wall_s = time.perf_counter() - began
    short = [got for got, _ in answers if got != tokens]
    if short:
        raise RuntimeError(f"{len(short)} answers have other than {tokens} tokens: {short[:5]}")
    firsts = [first for _, first in answers]
    total = sum(got for got, _ in answers)
    return Load(total / wall_s, len(answers) / wall_s, float(np.percentile(firsts, 95)))


def body_of(model: str, tokens: int, prompt: list[int], **more: Any) -> dict[str, Any]:
    """A greedy completion of exactly `tokens` tokens: the end of text is ruled out."""
    return {
        "model": model,
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "logit_bias": {str(END_OF_TEXT): -100},
        **more,
    }


def stream_once(base: str, model: str, tokens: int, prompt: list[int]) -> tuple[int, float]:
    """One streamed completion over HTTP."""
    usage_too = {"include_usage": True}
    body = body_of(model, tokens, prompt, stream=True, stream_options=usage_too)
    began, first_s, got = time.perf_counter(), 0.0, 0
    with requests.post(f"{base}/v1/completions", json=body, stream=True, timeout=600) as answer:
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code}: {answer.text}")
        for line in answer.iter_lines():
            if not line.startswith(b"data: {"):
                continue
            first_s = first_s or time.perf_counter() - began
            usage = json.loads(line[6:]).get("usage")
            got = usage["completion_tokens"] if usage else got
    return got, first_s


def whole_once(base: str, model: str, tokens: int, prompt: list[int]) -> tuple[int, float]:
    """One completion over HTTP, not streamed."""
    body = body_of(model, tokens, prompt)
    answer = requests.post(f"{base}/v1/completions", json=body, timeout=600)
    answer.raise_for_status()
    return int(answer.json()["usage"]["completion_tokens"]), 0.0


def litserve_once(base: str, tokens: int, prompt: list[int]) -> tuple[int, float]:
    """One request to the peer."""
    body = {"prompt": prompt, "max_tokens": tokens}
    answer = requests.post(f"{base}/predict", json=body, timeout=600)
    answer.raise_for_status()
    return len(answer.json()["tokens"]), 0.0


@contextlib.contextmanager
def our_server(checkpoint: Path, precision: str) -> Iterator[tuple[str, str]]:
    """Base URL and model name of a production server with this checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "MODEL_CHECKPOINT": str(checkpoint),
            "TOKENIZER": str(RANKS),
            "TEXT_DTYPE": precision,
            "TEXT_SLOTS": "32",
            "GUNICORN_THREADS": "40",
            "MAX_NEW_TOKENS": "500",
        }
        with running_server(Path(folder), **settings) as server:
            yield server.base, checkpoint.name


@contextlib.contextmanager
def litserve(checkpoint: Path) -> Iterator[str]:
    """Base URL of the peer."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "benchmarks.text_litserve", str(port), str(checkpoint)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        base = f"http://127.0.0.1:{port}"
        try:
            wait_for(f"{base}/health")
            yield base
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_for(url: str) -> None:
    """Return when an address answers 200."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(url, timeout=5).status_code == 200:
                return
        time.sleep(0.3)
    raise TimeoutError(f"{url} did not answer")


def turn_hugging_face(checkpoint: Path, tokens: int) -> dict[str, Any]:
    """Greedy texts and one-at-a-time speed of the peer, and the naive loop's."""
    from benchmarks.text_peers import hugging_face_text, load_hugging_face, naive_text

    model = load_hugging_face(checkpoint)
    hugging_face_text(model, prompts(1)[0], 4)
    texts = [hugging_face_text(model, p, SAME_TOKENS)[0] for p in prompts(SAME_PROMPTS)]
    spent = [hugging_face_text(model, p, tokens)[1] for p in prompts(4)]
    naive_s = naive_text(model, prompts(1)[0], tokens)[1]
    return {
        "texts": texts,
        "tokens_per_s": tokens / statistics.median(spent),
        "naive_tokens_per_s": tokens / naive_s,
    }


def turn_engine(checkpoint: Path, tokens: int, precision: str) -> dict[str, Any]:
    """Greedy texts, one stream and sixteen of the engine called directly."""
    from models.lane import Lane
    from models.text.base import Precision
    from models.text.checkpoints import load_checkpoint
    from models.text.engine import StepEngine, TextEngine
    from models.text.request import TextRequest

    model = load_checkpoint(checkpoint, 32, Precision(precision), tokenizer_path=RANKS)
    lane = Lane([StepEngine("text", model.network)])
    lane.start()
    engine = TextEngine(model, lambda step: lane.submit("text", step), 64)
    engine.start()

    def ask(prompt: list[int], count: int) -> list[int]:
        request = TextRequest(
            tuple(prompt),
            count,
            temperature=0.0,
            ignore_eos=True,
            logprobs=0,
            stream=False,
            logit_bias={END_OF_TEXT: -100.0},
        )
        return [t.token_id for piece in engine.generate(request) for t in piece.logprobs]

    def fast(prompt: list[int]) -> tuple[int, float]:
        began = time.perf_counter()
        request = TextRequest(tuple(prompt), tokens, temperature=0.0, ignore_eos=True)
        pieces, first_s = 0, 0.0
        for piece in engine.generate(request):
            first_s = first_s or time.perf_counter() - began
            pieces = piece.tokens
        return pieces, first_s

    texts = [ask(p, SAME_TOKENS) for p in prompts(SAME_PROMPTS)] if precision == "fp32" else []
    fast(prompts(1)[0])
    spent = []
    for prompt in prompts(4):
        began = time.perf_counter()
        fast(prompt)
        spent.append(time.perf_counter() - began)
    many = load_of(16, tokens, fast)
    engine.stop(5)
    lane.stop()
    return {
        "texts": texts,
        "tokens_per_s": tokens / statistics.median(spent),
        "streams16_tokens_per_s": many.tokens_per_s,
    }


def measure(checkpoint: Path, tokens: int) -> dict[str, Any]:
    """All turns, one after the other."""
    peer = child("hugging-face", "--checkpoint", str(checkpoint), "--tokens", str(tokens))
    found: dict[str, Any] = {"hugging_face": peer}
    for precision in ("fp32", "int8", "bf16"):
        arguments = ("--checkpoint", str(checkpoint), "--tokens", str(tokens))
        direct = child("engine", *arguments, "--precision", precision)
        with our_server(checkpoint, precision) as (base, name):

            def stream(prompt: list[int], base: str = base, name: str = name) -> tuple[int, float]:
                return stream_once(base, name, tokens, prompt)

            def whole(prompt: list[int], base: str = base, name: str = name) -> tuple[int, float]:
                return whole_once(base, name, tokens, prompt)

            http16 = load_of(16, tokens, stream)
            http32 = load_of(32, tokens, whole)
        found[precision] = {**direct, "http16": vars(http16), "http32": vars(http32)}
    with litserve(checkpoint) as base:
        found["litserve32"] = vars(load_of(32, tokens, lambda p: litserve_once(base, tokens, p)))
    return found


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """The ratios that count."""
    peer = found["hugging_face"]
    one, lit = peer["tokens_per_s"], found["litserve32"]["requests_per_s"]
    result: dict[str, Any] = {
        "same_tokens": sum(
            a == b for a, b in zip(peer["texts"], found["fp32"]["texts"], strict=True)
        ),
        "of_texts": SAME_PROMPTS,
        "hugging_face_tokens_per_s": round(one, 1),
        "naive_tokens_per_s": round(peer["naive_tokens_per_s"], 1),
    }
    for precision in ("fp32", "bf16", "int8"):
        ours = found[precision]
        result[precision] = {
            "one_stream_ratio": round(ours["tokens_per_s"] / one, 2),
            "http16_ratio": round(ours["http16"]["tokens_per_s"] / one, 2),
            "http_of_direct": round(
                ours["http16"]["tokens_per_s"] / ours["streams16_tokens_per_s"], 3
            ),
            "first_token_p95_s": round(ours["http16"]["first_p95_s"], 3),
            "litserve_ratio": round(ours["http32"]["requests_per_s"] / lit, 2),
            "tokens_per_s": round(ours["tokens_per_s"], 1),
            "http16_tokens_per_s": round(ours["http16"]["tokens_per_s"], 1),
        }
    return result


def show(result: dict[str, Any]) -> None:
    """The table."""
    print(
        f"same {SAME_TOKENS} greedy tokens: {result['same_tokens']} of {result['of_texts']} texts"
    )
    print(f"Hugging Face fp32, one stream {result['hugging_face_tokens_per_s']:8.1f} tokens/s")
    print(f"naive loop (marked so)        {result['naive_tokens_per_s']:8.1f} tokens/s")
    print(
        f"{'':<6}{'one':>8}{'x HF':>7}{'16 HTTP':>9}{'x HF':>7}{'of direct':>11}"
        f"{'first p95':>11}{'x LitServe':>12}"
    )
    for precision in ("fp32", "bf16", "int8"):
        row = result[precision]
        print(
            f"{precision:<6}{row['tokens_per_s']:>8.1f}{row['one_stream_ratio']:>7.2f}"
            f"{row['http16_tokens_per_s']:>9.1f}{row['http16_ratio']:>7.2f}"
            f"{row['http_of_direct']:>11.2f}{row['first_token_p95_s']:>10.2f}s"
            f"{row['litserve_ratio']:>12.2f}"
        )


def main() -> int:
    """Measure and print, or be one turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--turn", choices=["hugging-face", "engine"], help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="fp32", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.turn == "hugging-face":
        print(json.dumps(turn_hugging_face(args.checkpoint, args.tokens)))
        return 0
    if args.turn == "engine":
        print(json.dumps(turn_engine(args.checkpoint, args.tokens, args.precision)))
        return 0
    from benchmarks.text_peers import make_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = make_checkpoint(Path(folder) / "gpt2-seeded")
        result = summary(measure(checkpoint, args.tokens))
    show(result)
    print(json.dumps({"benchmark": "text", **result}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
