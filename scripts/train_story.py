"""Train the story model that ships, models/assets/story/, from the project's own stories.

    python scripts/train_story.py [--stories 40000] [--steps 7000] [--limit-s 7200] [--seed 7]
                                  [--threads 1] [--samples 0] [--out FOLDER]

What it is: story grammar → byte-level BPE → a small GPT → a Hugging Face GPT-2 directory, then
its loss on held-out stories. What it is not: needed to run the server.

With `--steps 0` it only scores the folder that is there. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.story import corpus, export, net, sample  # noqa: E402 - needs the path above
from scripts.story.bpe import Bpe, learn  # noqa: E402
from scripts.story.drills import Drills  # noqa: E402

FOLDER = ROOT / "models" / "assets" / "story"
VOCABULARY = 2048
HELD_OUT_SEED = 1000
HELD_OUT = 500


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--stories", type=int, default=40000, help="stories to train on")
    parser.add_argument("--steps", type=int, default=7000, help="0: do not train, only score")
    parser.add_argument("--limit-s", type=float, default=7200, help="most seconds of training")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--samples", type=int, default=0, help="stories to print of each prompt")
    parser.add_argument("--out", type=Path, default=FOLDER)
    return parser.parse_args()


def say(line: str) -> None:
    """Print at once, also into a file."""
    print(line, flush=True)


def train(args: argparse.Namespace) -> None:
    """Tell the stories, learn the merges, fit the network, write the four files."""
    begun = time.monotonic()
    texts = list(corpus.stories(args.seed, args.stories))
    bpe = Bpe(learn(texts, VOCABULARY))
    ids, starts = corpus.stream(bpe, texts)
    spent_s = time.monotonic() - begun
    say(f"{len(texts)} stories, {len(bpe.ids)} tokens, {len(ids)} ids, {spent_s:.0f} s")
    fit = net.Fit(steps=args.steps, seed=args.seed, limit_s=args.limit_s)
    shape = net.Shape(vocab_size=len(bpe.ids))
    taught = net.Corpus(ids, starts, Drills(bpe, args.seed).row)
    fitted, _ = net.train(taught, shape, fit, say)
    args.out.mkdir(parents=True, exist_ok=True)
    bpe.save(args.out)
    export.save(fitted, args.out)


def restored(folder: Path) -> tuple[net.StoryNet, Bpe]:
    """The network and the tokenizer of a folder."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sizes = ("vocab_size", "n_layer", "n_head", "n_embd")
    shape = net.Shape(block_size=config["n_positions"], **{key: config[key] for key in sizes})
    fitted = net.StoryNet(shape)
    export.restore(fitted, load_file(folder / "model.safetensors"))
    return fitted, Bpe.load(folder)


def scores(args: argparse.Namespace) -> dict[str, float]:
    """The loss of the files on stories that were not trained on, in nats per token."""
    fitted, bpe = restored(args.out)
    known = set(corpus.stories(args.seed, args.stories))
    texts = list(corpus.stories(HELD_OUT_SEED, HELD_OUT, known))
    held_out = [[bpe.end_id, *bpe.encode(text), bpe.end_id] for text in texts]
    loss = net.held_out_loss(fitted, held_out)
    ids = sum(len(ids) for ids in held_out)
    letters = sum(len(text) for text in texts)
    carried = sample.carried_over(fitted, bpe, HELD_OUT, HELD_OUT_SEED)
    return {
        "loss": round(loss, 4),
        "perplexity": round(math.exp(loss), 3),
        "bits_per_character": round(loss / math.log(2) * ids / letters, 4),
        **{
            f"{kind} carried over": round(good / max(1, mentions), 3)
            for kind, (good, mentions) in carried.items()
        },
        "parameters": sum(p.numel() for p in fitted.parameters()),
        "bytes": (args.out / "model.safetensors").stat().st_size,
    }


def main() -> int:
    """Train unless told not to, score, print."""
    args = arguments()
    torch.set_num_threads(args.threads)
    if args.steps:
        train(args)
    fitted, bpe = restored(args.out)
    for prompt in sample.PROMPTS:
        for seed in range(args.samples):
            say(sample.continuation(fitted, bpe, prompt, seed=seed) + "\n")
    print(json.dumps(scores(args)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
