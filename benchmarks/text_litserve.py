"""LitServe with its own batching over Hugging Face's batched `generate`: a peer of text.py.

    python -m benchmarks.text_litserve PORT CHECKPOINT

What it is not: part of the server. A module of its own, since LitServe starts its workers by
importing the class again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import litserve

from benchmarks.text_peers import greedy, load_hugging_face

LARGEST_BATCH = 32
GATHER_S = 0.05


class Api(litserve.LitAPI):  # type: ignore[misc]
    """Greedy texts of one length; prompts of a batch have the same length."""

    checkpoint = ""

    def setup(self, device: str) -> None:
        """Load the model in the worker."""
        self.model = load_hugging_face(Path(self.checkpoint))

    def batch(self, inputs: list[Any]) -> list[Any]:
        """A list of bodies."""
        return inputs

    def predict(self, batch: list[dict[str, Any]]) -> list[list[int]]:
        """New tokens of each body."""
        prompts = [request["prompt"] for request in batch]
        return greedy(self.model, prompts, batch[0]["max_tokens"])

    def unbatch(self, output: list[Any]) -> list[Any]:
        """One answer per body."""
        return output

    def encode_response(self, output: list[int]) -> dict[str, Any]:
        """The answer's body."""
        return {"tokens": output}


def main() -> None:
    """Serve until it is ended."""
    api = Api(max_batch_size=LARGEST_BATCH, batch_timeout=GATHER_S)
    api.checkpoint = sys.argv[2]
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=600)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)


if __name__ == "__main__":
    main()
