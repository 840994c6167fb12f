"""The small GPT that is trained: GPT-2's blocks (tanh GELU, tied head) and the fitting loop.

What it is not: the network that serves (models/text/network.py reads the saved weights), or the
corpus. Shapes: ids [batch, time] → logits [batch, time, vocab].
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
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
    """How long and how fast to train. `half`: multiply in bfloat16 (weights stay float32)."""

    steps: int = 4000
    rows: int = 8
    peak_rate: float = 2e-3
    warmup_steps: int = 100
    seed: int = 7
    limit_s: float = 3600.0
    half: bool = True


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

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the id that follows each id."""
        x = self.wte(ids) + self.wpe.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.ln_f(x), self.wte.weight)


def loss_of(net: StoryNet, rows: Tensor) -> Tensor:
    """Mean cross-entropy in nats per token of rows [batch, time + 1]."""
    logits = net(rows[:, :-1])
    return functional.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())


def batches(ids: Ids, starts: Ids, shape: Shape, fit: Fit) -> Iterator[Tensor]:
    """Endless rows [fit.rows, block + 1]: half begin where a story begins, half anywhere."""
    rng = np.random.default_rng(fit.seed)
    last = len(ids) - shape.block_size - 1
    starts = starts[starts <= last]
    span = np.arange(shape.block_size + 1)
    while True:
        firsts = rng.integers(0, last + 1, fit.rows)
        aligned = rng.random(fit.rows) < 0.5
        firsts[aligned] = rng.choice(starts, int(aligned.sum()))
        yield torch.from_numpy(ids[firsts[:, None] + span])


def rate_at(done: float, step: int, fit: Fit) -> float:
    """The learning rate after a share `done` (0..1) of the training: warm-up, then a cosine."""
    warm = min(1.0, (step + 1) / fit.warmup_steps)
    return fit.peak_rate * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def train(
    ids: Ids, starts: Ids, shape: Shape, fit: Fit, say: Callable[[str], None]
) -> tuple[StoryNet, list[float]]:
    """Fit a network to a stream of ids; also the loss of every step.

    It ends after fit.steps or, at the latest, after fit.limit_s seconds: where the clock is ahead
    of the steps, it drives the learning rate, and the training cannot be repeated exactly.
    """
    torch.manual_seed(fit.seed)
    net = StoryNet(shape)
    matrices = [p for p in net.parameters() if p.dim() == 2]
    vectors = [p for p in net.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=fit.peak_rate, betas=(0.9, 0.98), fused=True)
    losses: list[float] = []
    begun = time.monotonic()
    for step, rows in zip(range(fit.steps), batches(ids, starts, shape, fit), strict=False):
        spent_s = time.monotonic() - begun
        if spent_s > fit.limit_s:
            say(f"stopped by the clock at step {step}")
            break
        for group in optimiser.param_groups:
            group["lr"] = rate_at(max(step / fit.steps, spent_s / fit.limit_s), step, fit)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fit.half):
            loss = loss_of(net, rows)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        if step % 100 == 0 or step == fit.steps - 1:
            recent = sum(losses[-100:]) / len(losses[-100:])
            say(f"step {step}: loss {recent:.3f}, {spent_s:.0f} s")
    return net, losses


@torch.inference_mode()
def held_out_loss(net: StoryNet, stories: list[list[int]]) -> float:
    """Nats per token over whole stories, each read from its beginning (its first id is given)."""
    total, count = 0.0, 0
    for story in stories:
        rows = torch.tensor([story[: net.shape.block_size + 1]])
        total += float(loss_of(net, rows)) * (rows.shape[1] - 1)
        count += rows.shape[1] - 1
    return total / count
