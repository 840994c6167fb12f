"""Whether the embedded lips convince: following, silence, closures, and the picture around them.

    python -m benchmarks.lips [--keep DIR] [--only follow,formats]

Drives both persons over HTTP and lets the independent yardstick beside the clips read the lips:
1. follow: correlation with five real speakers, of the made lips and of the predicted opening;
2. silence: the opening's spread in digital silence and in room noise, over that in speech;
3. closures: the share of /p b m/ of synthesised speech (espeak-ng) on which the lips touch;
4. around: PSNR outside the lower face against the source encoded alike;
5. speed: frames per second of model and renderer alone at 720p; first: seconds from submit to the
   first segment of a video seen before, at 1080x1920 (the whole pipeline: benchmarks/pipeline.py);
6. formats: following, size, rate and steadiness on other sizes, rates, shapes and on stills.
Prints a table, then one line of JSON. What it is not: a judge of beauty; scripts/sheet.py makes the
sheets to look at.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks import formats, pace
from benchmarks.follow import KEPT_ASIDE, PERSONS, SHARED, dub, judge, yardstick
from models.audio.viseme import load as load_speech
from scripts.demo import RunningServer, running_server
from scripts.viseme_training import judge as predicted
from scripts.viseme_training.phones import LIPS_CLOSED
from scripts.viseme_training.voices import espeak_speech

Floats = NDArray[np.float32]

RATE_HZ = 16000
CLIPS = SHARED / "clips"
SPEECH = "lbax4n"
TOUCH = 0.02
"""An opening, in distances of the outer eye corners, below which lips touch."""
SETTLE_S = 0.3
PRESET, CRF = "veryfast", 20
SAYINGS = "Maybe Bob and Mabel, please. Papa moved a big blue boat by the empty pump. My mum paid."


@dataclass(frozen=True)
class Bench:
    """What every part needs: a server, the yardstick's module, a folder for what is made."""

    server: RunningServer
    gauge: Any
    folder: Path


def main() -> int:
    """Measure the chosen parts and print."""
    parts: dict[str, Callable[[Bench], dict[str, float]]] = {
        "follow": follow,
        "silence": silence,
        "closures": closures,
        "around": around,
        "speed": speed,
        "first": first,
        "formats": each_format,
    }
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--keep", type=Path, help="folder for the made videos")
    parser.add_argument("--only", default=",".join(parts), help="parts, with commas between")
    args = parser.parse_args()
    if not CLIPS.is_dir():
        print(f"skipped: no clips in {CLIPS}")
        return 0
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, running_server(Path(name)) as server:
        folder = args.keep or Path(name) / "made"
        folder.mkdir(parents=True, exist_ok=True)
        for part in args.only.split(","):
            found |= parts[part](Bench(server, yardstick(), folder))
    print(json.dumps({"benchmark": "lips", **{k: round(v, 4) for k, v in found.items()}}))
    return 0


def follow(bench: Bench) -> dict[str, float]:
    """1: both persons with all five sounds."""
    rows: list[tuple[str, float, float]] = []
    guesses: dict[str, float] = {}
    for sound in sorted((CLIPS / "spoken").glob("*.mpg")):
        guesses[sound.stem] = _guessed(bench, sound)
        for person in PERSONS:
            made = bench.folder / f"{person}-{sound.stem}.mp4"
            said = judge(dub(bench.server, CLIPS / f"{person}.mp4", sound, made), sound)
            rows.append((sound.stem, said["correlation"], said["best_lag_ms"]))
            print(
                f"1 follow    {person} {sound.stem:<8} predicted {guesses[sound.stem]:6.3f}   "
                f"rendered {said['correlation']:6.3f} at {said['best_lag_ms']:4.0f} ms"
            )
    aside = [row[1] for row in rows if row[0] in KEPT_ASIDE]
    tuned = [row[1] for row in rows if row[0] not in KEPT_ASIDE]
    return {
        "predicted": _mean(list(guesses.values())),
        "predicted_aside": _mean([guesses[name] for name in KEPT_ASIDE]),
        "rendered": _mean([row[1] for row in rows]),
        "rendered_tuned": _mean(tuned),
        "rendered_aside": _mean(aside),
        "worst_lag_ms": max(abs(row[2]) for row in rows),
    }


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def _guessed(bench: Bench, sound: Path) -> float:
    """How well the predicted opening follows the speaker's own lips, before any rendering."""
    truth, rate = bench.gauge.openings(str(sound))
    series = bench.folder / f"{sound.stem}.npz"
    good = np.flatnonzero(~np.isnan(truth))
    np.savez(series, s=np.interp(np.arange(len(truth)), good, truth[good]), r=rate)
    return predicted.follow(load_speech("cpu", SHARED), sound, series).correlation


def silence(bench: Bench) -> dict[str, float]:
    """2: speech, 2 s of digital silence, the same speech, 2 s of room noise."""
    said = predicted.clip_sound(CLIPS / "spoken" / f"{SPEECH}.mpg")[: 3 * RATE_HZ]
    said = np.pad(said, (0, 3 * RATE_HZ - len(said)))
    sound = np.concatenate([said, np.zeros(2 * RATE_HZ, np.float32), said, _room()])
    track = _wav(bench.folder / "silence.wav", sound)
    found: dict[str, float] = {}
    for person in PERSONS:
        series, rate = _read(bench, person, track)
        spoken = np.concatenate([_cut(series, rate, 0, 3), _cut(series, rate, 5, 8)])
        for kind, start in (("digital", 3.0), ("room", 8.0)):
            quiet = _cut(series, rate, start + SETTLE_S, start + 2)
            share, mean = float(quiet.std() / spoken.std()), float(quiet.mean())
            print(f"2 silence   {person} {kind:<8} spread {share:6.1%}   mean {mean:.4f}")
            found |= {f"{person}_{kind}_spread": share, f"{person}_{kind}_mean": mean}
    return found


def _room() -> Floats:
    """2 s of pink noise at -57 dB of full scale."""
    spectrum = np.fft.rfft(np.random.default_rng(3).standard_normal(2 * RATE_HZ))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)) / 2, 50.0))
    noise = np.fft.irfft(spectrum)
    return np.asarray(10 ** (-57 / 20) * noise / noise.std(), np.float32)


def closures(bench: Bench) -> dict[str, float]:
    """3: the least opening around every /p b m/ whose time is known."""
    said = espeak_speech(SAYINGS, "en", 150, 50, 50)
    track = _wav(bench.folder / "closures.wav", said.samples)
    found: dict[str, float] = {}
    for person in PERSONS:
        series, rate = _read(bench, person, track)
        shut = [s for s in said.segments if s.phone == LIPS_CLOSED]
        shut = [s for s in shut if s.end_s < len(series) / rate - 0.1]
        least = [_cut(series, rate, s.start_s - 0.02, s.end_s + 0.02).min() for s in shut]
        found[f"{person}_touching"] = float(np.mean(np.array(least) <= TOUCH))
        print(f"3 closures  {person} {found[f'{person}_touching']:6.1%} of {len(least)} touch")
    return found


def around(bench: Bench) -> dict[str, float]:
    """4: PSNR of brightness outside the lower face over the first 3 s."""
    found: dict[str, float] = {}
    sound = CLIPS / "spoken" / f"{SPEECH}.mpg"
    for person in PERSONS:
        source = CLIPS / f"{person}.mp4"
        made = bench.folder / f"{person}-{SPEECH}.mp4"
        if not made.is_file():
            dub(bench.server, source, sound, made)
        plain = bench.folder / f"{person}-plain.mp4"
        command = ["ffmpeg", "-v", "error", "-y", "-i", str(source), "-t", "3", "-an"]
        command += ["-c:v", "libx264", "-preset", PRESET, "-crf", str(CRF), str(plain)]
        subprocess.run(command, check=True)
        found[f"{person}_psnr_db"] = _psnr_db(bench.gauge.LipGauge(), plain, made)
        print(f"4 around    {person} {found[f'{person}_psnr_db']:6.2f} dB")
    return found


def speed(bench: Bench) -> dict[str, float]:
    """5: model and renderer alone, person_a at 720x1280, one thread."""
    clip = pace.scaled(CLIPS / "person_a.mp4", "720:1280", bench.folder / "720p.mp4")
    found = pace.speed(clip, CLIPS / "jfk.flac")
    print(f"5 speed     alone {found['model_fps']:.0f} frames/s", end="   ")
    print(f"with cut and blend {found['model_and_picture_fps']:.0f} frames/s")
    return found


def first(bench: Bench) -> dict[str, float]:
    """5: submit to first segment; once unknown, then known with other sounds."""
    sounds = sorted((CLIPS / "spoken").glob("*.mpg"))[:3]
    video = bench.folder / "unseen.mp4"  # an empty box more makes it a file never seen before
    video.write_bytes((CLIPS / "person_a.mp4").read_bytes() + b"\0\0\0\x08free")
    took = [pace.first_s(bench.server, video, sound) for sound in (CLIPS / "jfk.flac", *sounds)]
    took.append(pace.first_s(bench.server, video, CLIPS / "jfk.flac"))
    print(
        f"5 first     unknown {took[0]:.2f} s   known {', '.join(f'{s:.2f}' for s in took[1:])} s"
    )
    return {"first_unknown_s": took[0], "first_known_s": max(took[1:])}


def each_format(bench: Bench) -> dict[str, float]:
    """6: one row per format."""
    sound = CLIPS / "spoken" / f"{SPEECH}.mpg"
    still = _wav(bench.folder / "still.wav", np.zeros(3 * RATE_HZ, np.float32))
    found: dict[str, float] = {}
    gauge = bench.gauge.LipGauge()
    for variant in formats.VARIANTS:
        face = gauge._largest(formats.first_picture(CLIPS / f"{variant.clip}.mp4"))
        source = formats.changed(variant, CLIPS, bench.folder, float(face[1] + face[3] / 2))
        made = dub(bench.server, source, sound, bench.folder / f"{variant.name}.mp4")
        said = judge(made, sound)
        was, now = formats.shape_of(source), formats.shape_of(made)
        print(
            f"6 formats   {variant.name:<14} {now.size[0]}x{now.size[1]} (from {was.size[0]}x"
            f"{was.size[1]}) {now.frames} frames at {float(now.rate):.3f} ({float(was.rate):.3f})"
            f"   r {said['correlation']:.3f}   lag {said['best_lag_ms']:.0f} ms",
            end="",
        )
        found[f"{variant.name}_r"] = said["correlation"]
        if variant.still:
            quiet = dub(bench.server, source, still, bench.folder / f"{variant.name}-quiet.mp4")
            found[f"{variant.name}_shake"] = formats.shake(gauge, quiet)
            print(f"   shake {found[f'{variant.name}_shake']:.3%} of the face", end="")
        print()
    return found


def _psnr_db(gauge: Any, plain: Path, made: Path) -> float:
    total, count = 0.0, 0
    with av.open(str(plain)) as one, av.open(str(made)) as other:
        for a, b in zip(one.decode(video=0), other.decode(video=0), strict=False):
            apart = a.to_ndarray(format="gray").astype(np.float32) - b.to_ndarray(format="gray")
            face = gauge._largest(a.to_ndarray(format="bgr24"))
            if face is not None:
                x, y, width, height = (float(v) for v in face[:4])
                rows = slice(max(0, round(y + 0.4 * height)), round(y + 1.4 * height))
                apart[rows, max(0, round(x - 0.2 * width)) : round(x + 1.2 * width)] = np.nan
            total += float(np.nansum(apart**2))
            count += int(np.isfinite(apart).sum())
    return float(10 * np.log10(255**2 / (total / count)))


def _read(bench: Bench, person: str, track: Path) -> tuple[NDArray[np.float64], float]:
    """The lips of a person driven with a sound, as the yardstick reads them."""
    made = bench.folder / f"{person}-{track.stem}.mp4"
    series, rate = bench.gauge.openings(
        str(dub(bench.server, CLIPS / f"{person}.mp4", track, made))
    )
    good = np.flatnonzero(~np.isnan(series))
    return np.interp(np.arange(len(series)), good, series[good]), rate


def _cut(series: NDArray[np.float64], rate: float, start_s: float, end_s: float) -> Any:
    """The values between two times, at least one."""
    low = max(0, round(start_s * rate))
    return series[low : max(low + 1, round(end_s * rate))]


def _wav(path: Path, samples: Floats) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


if __name__ == "__main__":
    raise SystemExit(main())
