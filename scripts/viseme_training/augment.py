"""What rooms, microphones and people do to speech: gain, tilt, echo, band limits, noise, size.

What it is: seeded functions on samples [n] float32 at 16 kHz. What it is not: part of the model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, resample, sosfilt

RATE_HZ = 16000
Floats = NDArray[np.float32]


def resized(samples: Floats, factor: float) -> Floats:
    """The same speech by a bigger (`factor` > 1: slower, lower) or smaller speaker."""
    return np.asarray(resample(samples, max(1, round(len(samples) * factor))), np.float32)


def coloured(rng: Generator, length: int, slope: float) -> Floats:
    """Noise of unit RMS whose amplitude falls by frequency to the power -`slope`."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum /= np.maximum(np.arange(len(spectrum)) * (RATE_HZ / length), 50.0) ** slope
    noise = np.fft.irfft(spectrum, length)
    return _unit(noise)


def _unit(noise: NDArray[Any]) -> Floats:
    return np.asarray(noise / (noise.std() + 1e-12), np.float32)


def tilt(rng: Generator, samples: Floats) -> Floats:
    """A smooth random equaliser: up to ±8 dB at five points from 100 Hz to 8 kHz."""
    points = np.linspace(np.log(100), np.log(8000), 5)
    hz = np.fft.rfftfreq(512, 1 / RATE_HZ)
    gains_db = np.interp(np.log(np.maximum(hz, 50)), points, rng.uniform(-8, 8, 5))
    kernel = np.roll(np.fft.irfft(10 ** (gains_db / 20)), 256) * np.hanning(512)
    return np.asarray(fftconvolve(samples, kernel, mode="same"), np.float32)


def echo(rng: Generator, samples: Floats) -> Floats:
    """A small room: exponentially fading noise, 0.1 to 0.5 s to -60 dB, 6 to 20 dB down."""
    fade_s = rng.uniform(0.1, 0.5)
    times = np.arange(int(fade_s * RATE_HZ)) / RATE_HZ
    tail = rng.standard_normal(len(times)) * np.exp(-6.9 * times / fade_s)
    tail *= 10 ** (-rng.uniform(6, 20) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] += 1.0
    return np.asarray(fftconvolve(samples, tail)[: len(samples)], np.float32)


def band_limited(rng: Generator, samples: Floats) -> Floats:
    """A telephone or a poor codec: nothing above 3.2 to 7 kHz, maybe nothing below 250 Hz."""
    out = sosfilt(butter(6, rng.uniform(3200, 7000), "low", fs=RATE_HZ, output="sos"), samples)
    if rng.random() < 0.4:
        low_hz = rng.uniform(80, 250)
        out = sosfilt(butter(2, low_hz, "high", fs=RATE_HZ, output="sos"), out)
    return np.asarray(out, np.float32)


def room_noise(rng: Generator, length: int) -> Floats:
    """Unit-RMS background: coloured noise that swells slowly, now and then with mains hum."""
    steady = coloured(rng, length, rng.uniform(0, 1.8))
    points = rng.uniform(-3, 3, max(2, length // RATE_HZ + 1))
    swell_db = np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(points)), points)
    noise = steady * 10 ** (swell_db / 20)
    if rng.random() < 0.2:
        times = np.arange(length) / RATE_HZ
        base_hz = float(rng.choice([50.0, 60.0, 120.0, 440.0]))
        turns = 2 * np.pi * base_hz * times
        noise = noise + np.sin(turns) + 0.3 * np.sin(3 * turns)
    return _unit(noise)


def knocks(rng: Generator, length: int) -> Floats:
    """Short thuds and clicks that are not speech, about one every two seconds, of unit peak."""
    out = np.zeros(length, np.float32)
    for _ in range(int(rng.poisson(length / RATE_HZ / 2))):
        size = int(rng.uniform(0.005, 0.08) * RATE_HZ)
        at = int(rng.integers(max(1, length - size)))
        burst = coloured(rng, size, rng.uniform(0, 1.2)) * np.exp(-5 * np.arange(size) / size)
        out[at : at + size] += (burst / np.abs(burst).max()).astype(np.float32)[: length - at]
    return out


def music(rng: Generator, length: int) -> Floats:
    """Unit-RMS music without a singer: plucked or held chords in a beat, a bass, maybe drums."""
    out = np.zeros(length, np.float64)
    step = int(RATE_HZ * rng.uniform(0.2, 0.7))
    root_hz, held = float(rng.uniform(80, 240)), float(rng.uniform(0.8, 8.0))
    bright, drums = float(rng.uniform(0.8, 2.2)), rng.random() < 0.5
    for begin in range(0, length, step):
        size = min(2 * step, length - begin)
        times = np.arange(size) / RATE_HZ
        shape = np.exp(-held * times) * np.minimum(times / 0.01, 1)
        for semitones in rng.choice([0, 3, 4, 5, 7, 9, 12, 16], int(rng.integers(1, 4))):
            note_hz = root_hz * 2 ** (float(semitones) / 12)
            for harmonic in range(1, 9):
                if note_hz * harmonic < 7000:
                    phase = 2 * np.pi * note_hz * harmonic * times
                    out[begin : begin + size] += shape * np.sin(phase) / harmonic**bright
        if drums:
            burst = rng.standard_normal(size) * np.exp(-times / rng.uniform(0.01, 0.08))
            out[begin : begin + size] += float(rng.uniform(0.2, 1.5)) * burst
    return _unit(out)


def breath(rng: Generator, length: int) -> Floats:
    """The noise of air drawn in through the mouth, of unit RMS: a hiss with two broad resonances
    that swells and fades.
    """
    hz = np.fft.rfftfreq(length, 1 / RATE_HZ)
    gain = 0.05 + 0.3 / (1 + (hz / rng.uniform(800, 3000)) ** 2)
    for low_hz, high_hz in ((400, 1100), (1200, 2800)):
        centre_hz, width_hz = rng.uniform(low_hz, high_hz), rng.uniform(150, 700)
        gain += rng.uniform(0.3, 1) / (1 + ((hz - centre_hz) / width_hz) ** 2)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(length)) * gain, length)
    times, peak = np.linspace(0, 1, length), rng.uniform(0.25, 0.75)
    swell = np.minimum(times / peak, (1 - times) / (1 - peak)) ** rng.uniform(0.3, 1.2)
    return _unit(noise * swell)


def switched(rng: Generator, noise: Floats) -> Floats:
    """The same noise, on and off at random: a second or so each, from one sample to the next."""
    ends = np.cumsum(rng.uniform(0.3, 3.0, len(noise) // RATE_HZ * 4 + 2)) * RATE_HZ
    on = (np.searchsorted(ends, np.arange(len(noise))) + int(rng.integers(2))) % 2
    return np.asarray(noise * on, np.float32)


def companded(samples: Floats) -> Floats:
    """Through an 8-bit logarithmic codec (mu-law, ITU-T G.711) at full scale."""
    peak = float(np.abs(samples).max() + 1e-9)
    small = np.log1p(255 * np.abs(samples) / peak) / np.log(256.0)
    coarse = np.round(small * 127) / 127
    return np.asarray(np.sign(samples) * (256.0**coarse - 1) / 255 * peak, np.float32)


def recorded(rng: Generator, clean: Floats, snr_db: float | None) -> Floats:
    """One recording of `clean`: what was said, through a room, a microphone and a level.

    `snr_db` is how far the room's noise lies below the speech; with None there is nothing between
    the words at all (a synthesiser, a noise gate).
    """
    out = clean
    if rng.random() < 0.7:
        out = tilt(rng, out)
    if rng.random() < 0.4:
        out = echo(rng, out)
    if rng.random() < 0.3:
        out = band_limited(rng, out)
    if rng.random() < 0.08:
        out = companded(out)
    loud = float(np.sqrt(np.mean(out**2)) + 1e-9)
    if snr_db is not None:
        noise = room_noise(rng, len(out))
        noise = switched(rng, noise) if rng.random() < 0.2 else noise
        out = out + noise * loud * 10 ** (-snr_db / 20)
    peak = float(np.abs(out).max() + 1e-9)
    level_db = rng.uniform(-30, -1)
    return np.asarray(out / peak * 10 ** (level_db / 20), np.float32)
