"""The small GPT that is trained: GPT-2's blocks (tanh GELU, tied head) and the fitting loop.

What it is not: the network that serves (models/text/network.py reads the saved weights), or the
corpus. Shapes: ids [batch, time] → logits [batch, time, vocab].
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """The shape of the network."""

    vocab_size: int = 2048
    block_size: int = 256
    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 192


@dataclass(frozen=True)
class Fit:
    """How long and how fast to train. `half`: multiply in bfloat16 (weights stay float32).

    Rows grow with the training, `lengths` ids at the shares of it in `until`, as it is easier to
    find a name a sentence back than a page back; every step sees about `ids` ids. All rows are
    drills up to the share `drilled`; later a share of them, from `mixed` to 0 at `mixed_until`.
    """

    steps: int = 7000
    ids: int = 2048
    lengths: tuple[int, ...] = (64, 128, 256)
    until: tuple[float, ...] = (0.25, 0.45, 1.0)
    drilled: float = 0.05
    mixed: float = 0.3
    mixed_until: float = 0.5
    peak_rate: float = 2e-3
    warmup_steps: int = 100
    seed: int = 7
    limit_s: float = 3600.0
    half: bool = True

    def length(self, done: float) -> int:
        """Ids per row after a share `done` of the training."""
        for length, end in zip(self.lengths, self.until, strict=True):
            if done < end:
                return length
        return self.lengths[-1]

    def drills(self, done: float) -> float:
        """The share of rows that are drills after a share `done` of the training."""
        if done < self.drilled:
            return 1.0
        return self.mixed * max(0.0, 1 - done / self.mixed_until)


@dataclass(frozen=True)
class Corpus:
    """What is trained on: a stream of ids, the places where a story begins, a maker of drills
    (length → ids).
    """

    ids: Ids
    starts: Ids
    drill: Callable[[int], Ids]


class Block(nn.Module):
    """Attention and a feed-forward layer, each behind a LayerNorm and added to its input."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.n_embd
        self.heads = shape.n_head
        self.ln_1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.ln_2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, time, width] → the same shape."""
        rows, length, width = x.shape
        split = self.qkv(self.ln_1(x)).view(rows, length, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.mix(seen.transpose(1, 2).reshape(rows, length, width))
        fed: Tensor = self.down(functional.gelu(self.up(self.ln_2(x)), approximate="tanh"))
        return x + fed


class StoryNet(nn.Module):
    """Token and position embeddings, blocks, a LayerNorm, a head tied to the token embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.wte = nn.Embedding(shape.vocab_size, shape.n_embd)
        self.wpe = nn.Embedding(shape.block_size, shape.n_embd)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.ln_f = nn.LayerNorm(shape.n_embd)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                deep = name.endswith(("mix.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * shape.n_layer) if deep else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)
        with torch.no_grad():
            self.wpe.weight.copy_(0.02 * waves(shape.block_size, shape.n_embd))

    def forward(self, ids: Tensor, first: int = 0) -> Tensor:
        """Logits of the id that follows each id; the first stands at position `first`."""
        x = self.wte(ids) + self.wpe.weight[first : first + ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.ln_f(x), self.wte.weight)


def waves(length: int, width: int) -> Tensor:
    """Sines and cosines [length, width] of falling frequency (Vaswani et al. 2017, 3.5), where the
    position embedding begins: neighbours are known from the start, not learnt for each position.
    """
    steps = torch.exp(-math.log(1000.0) * torch.arange(width // 2) / (width // 2))
    angles = torch.arange(length)[:, None] * steps
    return torch.cat([angles.sin(), angles.cos()], 1)


def loss_of(net: StoryNet, rows: Tensor, first: int = 0) -> Tensor:
    """Mean cross-entropy in nats per token of rows [batch, time + 1]."""
    logits = net(rows[:, :-1], first)
    return functional.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())


class Batches:
    """Rows [about fit.ids / length, length + 1]: drills, story beginnings and parts of stories."""

    def __init__(self, corpus: Corpus, shape: Shape, fit: Fit) -> None:
        self._corpus = corpus
        self._block = shape.block_size
        self._fit = fit
        self._rng = np.random.default_rng(fit.seed)

    def take(self, done: float) -> tuple[Tensor, int]:
        """A batch after a share `done` of the training, and the position of its first ids: half
        the batches stand at a random one, so that every position is trained on short rows, too.
        """
        rng, fit = self._rng, self._fit
        length = min(fit.length(done), self._block)
        rows = self._stories(max(1, fit.ids // length), length)
        for row in np.flatnonzero(rng.random(len(rows)) < fit.drills(done)):
            rows[row] = self._corpus.drill(length + 1)
        first = int(rng.integers(0, self._block - length + 1)) if rng.random() < 0.5 else 0
        return torch.from_numpy(rows), first

    def _stories(self, count: int, length: int) -> Ids:
        rng, ids = self._rng, self._corpus.ids
        last = len(ids) - length - 1
        starts = self._corpus.starts[self._corpus.starts <= last]
        firsts = rng.integers(0, last + 1, count)
        aligned = rng.random(count) < 0.5
        firsts[aligned] = rng.choice(starts, int(aligned.sum()))
        rows: Ids = ids[firsts[:, None] + np.arange(length + 1)]
        return rows


def optimisers(net: StoryNet, fit: Fit) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the matrices of the blocks, AdamW for the rest.

    With AdamW alone the network does not learn to look names up in the time there is (drills: 11 %
    of names after 250 steps, 97 % after 100 with Muon).
    """
    matrices = [p for p in net.blocks.parameters() if p.dim() == 2]
    kept = {id(p) for p in matrices}
    others = [p for p in net.parameters() if id(p) not in kept]
    muon = torch.optim.Muon(
        matrices, lr=fit.peak_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
    )
    adam = torch.optim.AdamW(others, lr=fit.peak_rate, betas=(0.9, 0.98), weight_decay=0.0)
    return muon, adam


def rate_at(done: float, step: int, fit: Fit) -> float:
    """The learning rate after a share `done` (0..1) of the training: warm-up, then a cosine."""
    warm = min(1.0, (step + 1) / fit.warmup_steps)
    return fit.peak_rate * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def train(
    corpus: Corpus, shape: Shape, fit: Fit, say: Callable[[str], None]
) -> tuple[StoryNet, list[float]]:
    """Fit a network; also the loss of every step.

    It ends after fit.steps or, at the latest, after fit.limit_s seconds: where the clock is ahead
    of the steps, it drives the learning rate, and the training cannot be repeated exactly.
    """
    torch.manual_seed(fit.seed)
    net = StoryNet(shape)
    both = optimisers(net, fit)
    batches = Batches(corpus, shape, fit)
    losses: list[float] = []
    begun = time.monotonic()
    for step in range(fit.steps):
        spent_s = time.monotonic() - begun
        if spent_s > fit.limit_s:
            say(f"stopped by the clock at step {step}")
            break
        done = max(step / fit.steps, spent_s / fit.limit_s)
        for group in (group for optimiser in both for group in optimiser.param_groups):
            group["lr"] = rate_at(done, step, fit)
        rows, first = batches.take(done)
        losses.append(_step(net, both, rows, first, half=fit.half))
        if step % 100 == 0 or step == fit.steps - 1:
            recent = sum(losses[-100:]) / len(losses[-100:])
            say(f"step {step}: loss {recent:.3f}, {spent_s:.0f} s")
    return net, losses


def _step(
    net: StoryNet,
    both: tuple[torch.optim.Optimizer, ...],
    rows: Tensor,
    first: int,
    *,
    half: bool,
) -> float:
    """One step of both optimisers; the loss before it."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        loss = loss_of(net, rows, first)
    for optimiser in both:
        optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    for optimiser in both:
        optimiser.step()
    return float(loss.detach())


@torch.inference_mode()
def held_out_loss(net: StoryNet, stories: list[list[int]]) -> float:
    """Nats per token over whole stories, each read from its beginning (its first id is given)."""
    total, count = 0.0, 0
    for story in stories:
        rows = torch.tensor([story[: net.shape.block_size + 1]])
        total += float(loss_of(net, rows)) * (rows.shape[1] - 1)
        count += rows.shape[1] - 1
    return total / count
