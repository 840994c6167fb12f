"""MuseTalk on a real GPU: its numbers, reduced precision, the compiled decoder, graphs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from models.lipsync import gate
from models.lipsync.muse.chain import Chain, Precision, open_chain
from models.lipsync.musetalk import V15, MuseTalk
from tests.data import musetalk
from tests.unit.models.lipsync import muses
from tests.unit.models.lipsync.scenes import item

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
FACES = [musetalk.picture(f"face {index}", 256, 256) for index in range(3)]
SOUND = np.stack([muses.sound(index) for index in range(3)])


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Float32 without TF32, as the goldens ask."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def test_float32_gives_what_the_cpu_gives() -> None:
    chain = Chain(musetalk.published(), "cuda", Precision())
    latents, truth = chain.encode(FACES), muses.chain().encode(FACES)
    assert muses.apart(latents, truth) < 2e-3
    made, wanted = chain.speak(truth, SOUND).cpu(), muses.chain().speak(truth, SOUND)
    assert muses.apart(made, wanted) <= 1


def test_the_compiled_decoder_and_its_graphs_give_what_the_eager_one_gives() -> None:
    chain = Chain(musetalk.published(), "cuda", Precision())
    latents = chain.encode(FACES)
    eager = chain.speak(latents, SOUND).cpu()
    chain.compile()
    assert gate.psnr_db(chain.speak(latents, SOUND).cpu(), eager, 255.0) > 50
    again = chain.speak(latents[:1], SOUND[:1]).cpu()
    assert gate.psnr_db(again, eager[:1], 255.0) > 50


def test_a_backend_on_the_gpu_paints_what_the_cpu_paints() -> None:
    backend = MuseTalk(V15, open_chain(musetalk.published(), "cuda"))
    works = [item(backend, values) for values in muses.FEATURES]
    for made, wanted in zip(backend.render(works), muses.backend().render(works), strict=True):
        near_db = gate.psnr_db(torch.from_numpy(made.image), torch.from_numpy(wanted.image), 255.0)
        assert near_db > 30
