"""Probing: every kind that is taken is described, every odd one refused with its reason."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.unit.trans_dh_service.media import (
    Clip,
    make_sound,
    make_still,
    make_video,
    tone,
)
from trans_dh_service.probe import STILL_FPS, plain_rate, probe_audio, probe_video
from trans_dh_service.task import MediaError, MediaLimits

LIMITS = MediaLimits()
NTSC = Fraction(30000, 1001)
KINDS = [
    ("a.mp4", Clip(), "h264"),
    ("a.mov", Clip(fps=NTSC), "h264"),
    ("a.mkv", Clip(codec="libx265", fps=Fraction(24000, 1001)), "hevc"),
    ("a.webm", Clip(codec="libvpx-vp9", fps=NTSC), "vp9"),
    ("a.mpg", Clip(codec="mpeg1video"), "mpeg1video"),
    ("a.avi", Clip(codec="mpeg4", fps=Fraction(15)), "mpeg4"),
    ("a.ts", Clip(fps=Fraction(50)), "h264"),
    ("b.mkv", Clip(pix_fmt="yuv420p10le", codec="libx265"), "hevc"),
]
SOUNDS = [
    ("a.wav", "pcm_s16le", 44100, "stereo"),
    ("a.mp3", "libmp3lame", 44100, "mono"),
    ("a.flac", "flac", 96000, "stereo"),
    ("a.m4a", "aac", 48000, "5.1"),
    ("a.ogg", "libopus", 48000, "mono"),
    ("b.wav", "pcm_s16le", 8000, "mono"),
]


@pytest.mark.parametrize(("name", "clip", "codec"), KINDS, ids=[kind[0] for kind in KINDS])
def test_a_video_of_every_kind_is_described(
    tmp_path: Path, name: str, clip: Clip, codec: str
) -> None:
    info = probe_video(make_video(tmp_path / name, clip), LIMITS)
    assert (info.width_px, info.height_px, info.codec) == (160, 120, codec)
    assert info.fps == clip.fps
    assert abs(info.frames - clip.frames) <= 2
    assert info.duration_s == pytest.approx(clip.frames / clip.fps, abs=0.12)
    assert (info.rotation_deg, info.is_still) == (0, False)


@pytest.mark.parametrize(("name", "codec", "rate", "layout"), SOUNDS, ids=[s[0] for s in SOUNDS])
def test_a_recording_of_every_kind_is_described(
    tmp_path: Path, name: str, codec: str, rate: int, layout: str
) -> None:
    info = probe_audio(make_sound(tmp_path / name, 0.5, codec, rate, layout), LIMITS)
    assert info.duration_s == pytest.approx(0.5, abs=0.1)
    assert info.sample_rate_hz == rate
    assert info.channels == {"mono": 1, "stereo": 2, "5.1": 6}[layout]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.png", "png"), ("a.jpg", "mjpeg"), ("a.webp", "libwebp"), ("a.bmp", "bmp")],
)
def test_a_still_picture_counts_as_a_video_of_one_frame(
    tmp_path: Path, name: str, codec: str
) -> None:
    info = probe_video(make_still(tmp_path / name, codec), LIMITS)
    assert (info.width_px, info.height_px) == (160, 120)
    assert (info.fps, info.frames, info.is_still) == (STILL_FPS, 1, True)


def test_a_still_picture_may_have_any_name(tmp_path: Path) -> None:
    assert probe_video(make_still(tmp_path / "a%03d.png", "png"), LIMITS).is_still


def test_rotation_swaps_the_sides(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "a.mp4", Clip(rotation_deg=90)), LIMITS)
    assert (info.width_px, info.height_px) == (120, 160)
    assert info.rotation_deg in (90, 270)


def test_a_variable_rate_gives_the_average(tmp_path: Path) -> None:
    stamps = tuple(number * 40 + (number % 3) * 7 for number in range(50))
    info = probe_video(make_video(tmp_path / "a.mkv", Clip(frames=50, stamps=stamps)), LIMITS)
    assert float(info.fps) == pytest.approx(25, rel=0.05)


def test_a_sound_track_of_a_video_serves_as_recording(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", sound_s=1.0)
    assert probe_audio(path, LIMITS).codec == "aac"


def test_rates_near_a_standard_one_become_it_and_others_stay() -> None:
    assert plain_rate(Fraction(29970, 1000)) == NTSC
    assert plain_rate(Fraction(2499999, 100000)) == 25
    assert plain_rate(Fraction(27)) == 27
    assert plain_rate(Fraction(1234567, 54321)).denominator <= 1001


def refusal(path: Path, role: str = "video", limits: MediaLimits = LIMITS) -> str:
    """The message with which a file is refused."""
    with pytest.raises(MediaError) as caught:
        (probe_video if role == "video" else probe_audio)(path, limits)
    assert caught.value.role == role
    assert path.name in str(caught.value)
    assert str(path.parent) not in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.mp4")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    assert "no such file" in refusal(tmp_path / "folder.mp4")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert "0 bytes" in refusal(tmp_path / "a.mp4")


def test_a_file_without_its_index_is_called_truncated(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "a.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refusal(cut)
    assert "moov" in refusal(cut)


def test_a_file_cut_at_any_place_is_described_or_refused_but_never_crashes(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "a.mkv").read_bytes()
    described = 0
    for share in range(1, 12):
        cut = tmp_path / "cut.mkv"
        cut.write_bytes(whole[: len(whole) * share // 12])
        described += _described_or_refused(cut)
    assert described


def test_what_is_not_media_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes(range(256)) * 40)
    assert "not a video" in refusal(path)
    path.write_text("hello, this is a letter\n" * 50)
    assert "not" in refusal(path)


@pytest.mark.parametrize("role", ["video", "audio"])
def test_no_playlist_reads_another_file(tmp_path: Path, role: str) -> None:
    secret = make_video(tmp_path / "secret.ts", sound_s=1.0)
    lists = {
        "concat.mp4": f"ffconcat version 1.0\nfile {secret}\n",
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{secret}\n#EXT-X-ENDLIST\n",
        "hls.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{secret}\n#EXT-X-ENDLIST\n",
        "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 4000 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    }
    for name, text in lists.items():
        path = tmp_path / name
        path.write_text(text)
        assert "not" in refusal(path, role)


def test_a_name_that_is_an_address_is_only_a_name(tmp_path: Path) -> None:
    make_video(tmp_path / "b.mp4")
    path = Path(f"concat:{tmp_path}/b.mp4")
    with pytest.raises(MediaError, match="no such file"):
        probe_video(path, LIMITS)


def test_sound_alone_is_no_video_even_with_a_cover(tmp_path: Path) -> None:
    assert "no video stream" in refusal(make_sound(tmp_path / "a.wav", 0.3))
    cover = make_still(tmp_path / "cover.jpg", "mjpeg")
    plain = make_sound(tmp_path / "b.mp3", 0.3, "libmp3lame", 44100)
    song = tmp_path / "song.mp3"
    song.write_bytes(_with_cover(plain.read_bytes(), cover.read_bytes()))
    message = refusal(song)
    assert "no video stream" in message
    assert "cover picture" in message
    assert probe_audio(song, LIMITS).codec.startswith("mp3")


def test_pictures_alone_are_no_recording(tmp_path: Path) -> None:
    assert "no audio stream (streams: video h264)" in refusal(
        make_video(tmp_path / "a.mp4"), "audio"
    )


def test_a_recording_without_samples_is_refused(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.wav", 0.3)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"data")] + b"data" + struct.pack("<I", 0))
    assert "no samples" in refusal(path, "audio")


def test_a_video_without_a_decodable_picture_is_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path.write_bytes(bytes(data))
    assert "no picture could be decoded" in refusal(path)


def test_limits_are_named_with_the_value(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", Clip(frames=50))
    sound = make_sound(tmp_path / "a.wav", 2.0)
    assert "2.0 s long, at most 1 s" in refusal(video, limits=MediaLimits(max_video_s=1))
    assert "2.0 s long, at most 1 s" in refusal(sound, "audio", MediaLimits(max_audio_s=1))
    assert "at most 20 are allowed" in refusal(video, limits=MediaLimits(max_fps=20))
    assert "at most 10000" in refusal(video, limits=MediaLimits(max_pixels=10000))


def test_a_tiny_picture_is_refused(tmp_path: Path) -> None:
    path = make_still(tmp_path / "a.png", "png", 8, 8)
    assert "8x8 pixels, at least 16x16" in refusal(path)


def test_a_giant_picture_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 65535, 65535, 8, 2, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + _png_part(b"IHDR", header)
        + _png_part(b"IDAT", zlib.compress(bytes(1000)))
        + _png_part(b"IEND", b"")
    )
    assert str(LIMITS.max_pixels) in refusal(path)


def test_a_long_duration_in_a_tiny_file_is_refused(tmp_path: Path) -> None:
    clip = Clip(frames=2, stamps=(0, 3_000_000))
    path = make_video(tmp_path / "a.mkv", clip)
    assert path.stat().st_size < 100_000
    assert "at most 1800 s" in refusal(path)


def test_too_many_streams_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=8000) for _ in range(70)]
        for stream in streams:
            stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(
            (tone(0.1, 8000)[None] * 100).astype("int16"), format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts = 8000, 0
        for stream in streams:
            container.mux(stream.encode(frame))
    assert "more than 64 streams" in refusal(path, "audio")


def test_a_live_recording_without_a_length_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    source = make_video(tmp_path / "b.mkv", Clip(frames=50))
    with av.open(str(source)) as read, av.open(str(path), "w", options={"live": "1"}) as made:
        stream = made.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    assert probe_video(path, LIMITS).duration_s == pytest.approx(2.0, abs=0.1)
    assert "at most 1 s" in refusal(path, limits=MediaLimits(max_video_s=1))


def _described_or_refused(path: Path) -> bool:
    try:
        return probe_video(path, LIMITS).width_px == 160
    except MediaError:
        return False


def _png_part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _with_cover(mp3: bytes, picture: bytes) -> bytes:
    """An ID3v2.3 tag with a picture before the sound; replaces the tag that is there."""
    body = b"\0image/jpeg\0\x03\0" + picture
    frame = b"APIC" + struct.pack(">I", len(body)) + b"\0\0" + body
    size = len(frame)
    sync = bytes((size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127))
    if mp3[:3] == b"ID3":
        old = mp3[6] << 21 | mp3[7] << 14 | mp3[8] << 7 | mp3[9]
        mp3 = mp3[10 + old :]
    return b"ID3\x03\0\0" + sync + frame + mp3
