"""The network of Wav2Lip as published."""

from __future__ import annotations

import math

import torch

from models.lipsync.hourglass import Hourglass, inventory
from models.lipsync.wav2lip import masked
from tests.data import wav2lip
from tests.unit.models.lipsync.goldens import SMALL, numbers


def test_it_has_the_tensors_of_the_published_files() -> None:
    shapes = inventory()
    assert len(shapes) == 352
    learned = [
        math.prod(shape)
        for key, shape in shapes.items()
        if not key.endswith(("running_mean", "running_var", "num_batches_tracked"))
    ]
    assert sum(learned) == 36_298_035
    assert shapes["face_decoder_blocks.2.0.conv_block.0.weight"] == (1024, 512, 3, 3)
    assert shapes["face_encoder_blocks.0.0.conv_block.0.weight"] == (16, 6, 7, 7)


def test_it_gives_the_stored_picture() -> None:
    stored = numbers("wav2lip_generator", SMALL)
    network = Hourglass()
    network.load_state_dict(wav2lip.state())
    network.eval()
    shown = masked(torch.from_numpy(stored["faces"]))
    with torch.inference_mode():
        made = network(torch.from_numpy(stored["mel"]), shown).numpy()
    assert abs(made - stored["output"]).max() < 2e-5
