import contextlib
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.attempt import AttemptFailed, FailureKind
from service.media import sniff
from service.workers.stages.inputs.media import MediaFacts, decode_speech, probe_media
from tests.workers.inputs.films import pointing_at, with_numbers, without
from tests.workers.inputs.pictures import gradient, saved

Film = Callable[[str], Path]
BOUNDS: dict[str, Any] = {
    "max_bytes": 1_000_000,
    "max_seconds": 10,
    "timeout": timedelta(seconds=20),
}


def probe(path: Path, **changes: Any) -> MediaFacts:
    return probe_media(path, **{"kinds": {"audio", "video"}, **BOUNDS, **changes})


def decode(path: Path, **changes: Any) -> float:
    return len(decode_speech(path, **{**BOUNDS, **changes})) / 48_000


def refusals(path: Path, **changes: Any) -> set[str]:
    """The codes with which both refuse it."""
    codes = set()
    for attempt in (lambda: probe(path, **changes), lambda: decode(path, **changes)):
        with pytest.raises(AttemptFailed) as caught:
            attempt()
        assert caught.value.kind is FailureKind.USER
        codes.add(caught.value.code)
    return codes


FORMATS = "mov,matroska,webm,mp3,wav,flac,ogg,aac,aiff,caf,amr,asf"

# What is found


def test_what_the_door_knows_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = (re.compile(b"NEWF"), "audio/x-new")
    monkeypatch.setattr(sniff, "_TYPES", [known, *sniff._TYPES])
    path = tmp_path / "sound"
    path.write_bytes(b"NEWF" + bytes(1000))
    picture = tmp_path / "picture"
    picture.write_bytes(saved(gradient(), "WEBP"))

    assert refusals(path) == {"media_unreadable"}  # ffmpeg finds nothing in it
    assert refusals(picture) == {"media_format"}


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("sound.wav", "pcm_s16le"),
        ("sound.mp3", "mp3"),
        ("sound.m4a", "aac"),
        ("sound.flac", "flac"),
        ("sound.ogg", "vorbis"),
        ("sound.opus", "opus"),
        ("sound.aac", "aac"),
        ("sound.aiff", "pcm_s16be"),
        ("sound.caf", "alac"),
        ("sound.amr", "amr_nb"),
        ("sound.wma", "wmav2"),
        ("telephone.wav", "adpcm_ms"),
        ("surround.m4a", "aac"),
        ("surround.mkv", "ac3"),
    ],
)
def test_sound_is_known_by_its_packets(film: Film, name: str, codec: str) -> None:
    facts = probe(film(name))

    assert facts.duration_seconds == pytest.approx(2, abs=0.1)
    assert facts == MediaFacts(
        "audio", facts.duration_seconds, True, False, None, None, None, codec, codec
    )


@pytest.mark.parametrize("name", ["film.mp4", "film.mov", "film.webm", "silent.mp4"])
def test_a_film_is_known_by_its_packets(film: Film, name: str) -> None:
    facts = probe(film(name))

    assert facts.duration_seconds == pytest.approx(2, abs=0.1)
    assert facts.fps == pytest.approx(12, abs=0.1)
    assert (facts.kind, facts.has_video, facts.has_audio) == ("video", True, name != "silent.mp4")
    assert (facts.width, facts.height) == (128, 64)
    sound = {"film.mp4": "aac", "film.mov": "aac", "film.webm": "opus", "silent.mp4": None}
    assert facts.audio_codec == sound[name]


def test_a_cover_does_not_make_a_song_a_film(film: Film) -> None:
    assert probe(film("cover.mp3")).kind == "audio"


@pytest.mark.parametrize(
    "name",
    """sound.wav sound.mp3 sound.aac sound.aiff sound.caf sound.amr sound.wma telephone.wav
    surround.m4a surround.mkv film.mp4 film.webm""".split(),
)
def test_sound_becomes_plain_samples(film: Film, name: str) -> None:
    samples = decode_speech(film(name), **BOUNDS)

    assert (samples.dtype, samples.shape[1]) == (np.int16, 2)
    assert len(samples) / 48_000 == pytest.approx(2, abs=0.1)
    assert np.abs(np.fft.rfft(samples[:48_000, 0])).argmax() == 440


@pytest.mark.parametrize(
    "name", ["-i.mp4", "|touch pwned", "concat:a.mp4|b.mp4", "data:text,x", "%d.mp4", "a\nb; $(x)"]
)
def test_a_name_is_only_a_name(film: Film, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(film("film.mp4").read_bytes())

    with contextlib.chdir(tmp_path):
        assert probe(Path(name)).has_audio
        assert decode(Path(name)) == pytest.approx(2, abs=0.05)

    assert {path.name for path in tmp_path.iterdir()} == {name}


# What is refused


def test_the_bound_on_bytes_is_exact(film: Film) -> None:
    path = film("sound.wav")
    size_bytes = path.stat().st_size

    assert probe(path, max_bytes=size_bytes).has_audio
    assert refusals(path, max_bytes=size_bytes - 1) == {"media_too_large"}


@pytest.mark.parametrize("name", ["sound.wav", "sound.mp3", "film.mp4", "film.webm"])
def test_what_is_too_long_is_refused(film: Film, name: str) -> None:
    assert probe(film(name), max_seconds=2).has_audio
    assert refusals(film(name), max_seconds=1.8) == {"media_too_long"}


@pytest.mark.parametrize(
    ("name", "says"), [("sixteen.wav", "has 16 channels"), ("twenty.wav", "has 20 channels")]
)
def test_more_channels_than_those_of_a_cinema_are_refused(film: Film, name: str, says: str) -> None:
    with pytest.raises(AttemptFailed, match=says) as caught:
        decode(film(name), max_bytes=10_000_000)

    assert caught.value.code == "media_channels"


def test_only_the_asked_kind_is_taken(film: Film) -> None:
    assert probe(film("sound.wav"), kinds={"audio"}).kind == "audio"
    with pytest.raises(AttemptFailed, match="is video; give audio") as caught:
        probe(film("film.mp4"), kinds={"audio"})
    assert caught.value.code == "media_kind"
    with pytest.raises(AttemptFailed, match="is audio; give video"):
        probe(film("sound.wav"), kinds={"video"})


def test_a_film_without_sound_has_none_to_decode(film: Film) -> None:
    with pytest.raises(AttemptFailed, match="has no sound") as caught:
        decode(film("silent.mp4"))

    assert caught.value.code == "media_kind"


@pytest.mark.parametrize("name", ["sound.m4a", "film.mp4"])
@pytest.mark.parametrize("keep", [12, 100, 1000])
def test_a_film_without_its_index_is_refused(
    film: Film, tmp_path: Path, name: str, keep: int
) -> None:
    path = tmp_path / "cut"
    path.write_bytes(film(name).read_bytes()[:keep])

    assert refusals(path) == {"media_unreadable"}


def test_a_rare_format_behind_a_known_beginning_is_refused(film: Film, tmp_path: Path) -> None:
    path = tmp_path / "sound.mp3"
    path.write_bytes(b"ID3\x04\0\0\0\0\0\0" + film("rare.au").read_bytes())

    assert refusals(path) == {"media_unreadable"}


def test_a_rare_codec_is_not_decoded(film: Film) -> None:
    with pytest.raises(AttemptFailed) as caught:
        decode(film("rare.wav"))

    assert caught.value.code == "media_codec"


def test_sound_that_is_mostly_broken_is_refused(film: Film, tmp_path: Path) -> None:
    content = bytearray(film("sound.m4a").read_bytes())
    start, end = content.index(b"mdat"), content.index(b"moov")
    content[start + (end - start) // 5 : end - 4] = bytes(end - 4 - start - (end - start) // 5)
    path = tmp_path / "broken.m4a"
    path.write_bytes(content)

    assert probe(path).has_audio
    with pytest.raises(AttemptFailed) as caught:
        decode(path)
    assert caught.value.code == "media_unreadable"


# Files that lie


def test_the_length_in_a_header_is_not_believed(film: Film, tmp_path: Path) -> None:
    lying = with_numbers(film("film.mp4").read_bytes(), b"mvhd", 12, 1)
    lying = without(with_numbers(lying, b"mdhd", 12, 1), b"edts")
    path = tmp_path / "lying.mp4"
    path.write_bytes(lying)

    assert probe(path).duration_seconds == pytest.approx(2, abs=0.1)
    assert refusals(path, max_seconds=1) == {"media_too_long"}


def test_sound_is_no_longer_than_its_times_say(film: Film, tmp_path: Path) -> None:
    lying = with_numbers(film("sound.m4a").read_bytes(), b"stts", 0, 1, 87, 2)
    path = tmp_path / "lying.m4a"
    path.write_bytes(without(lying, b"edts"))

    assert probe(path, max_seconds=1).duration_seconds < 0.1
    assert decode(path, max_seconds=1) <= 1.1


def test_sound_that_decodes_to_nothing_is_refused(film: Film, tmp_path: Path) -> None:
    lying = with_numbers(film("sound.m4a").read_bytes(), b"stts", 0, 1, 87, 1)
    path = tmp_path / "lying.m4a"
    path.write_bytes(without(lying, b"edts"))

    with pytest.raises(AttemptFailed) as caught:
        decode(path)

    assert caught.value.code == "media_unreadable"


def test_pictures_that_claim_one_moment_are_counted(film: Film, tmp_path: Path) -> None:
    lying = with_numbers(film("quick.mp4").read_bytes(), b"stts", 0, 1, 120, 1)
    path = tmp_path / "lying.mp4"
    path.write_bytes(without(lying, b"edts", b"ctts"))

    assert probe(path, max_seconds=0.5).duration_seconds < 0.1
    with pytest.raises(AttemptFailed) as caught:
        probe(path, max_seconds=0.2)
    assert caught.value.code == "media_too_long"


def test_a_gap_in_time_counts(film: Film, tmp_path: Path) -> None:
    lying = with_numbers(film("silent.mp4").read_bytes(), b"stts", 0, 1, 24, 1 << 30)
    path = tmp_path / "lying.mp4"
    path.write_bytes(without(lying, b"edts", b"ctts"))

    with pytest.raises(AttemptFailed) as caught:
        probe(path)
    assert caught.value.code == "media_too_long"


MEASURE = """
import resource, sys
from datetime import timedelta
from pathlib import Path
from service.domain.attempt import AttemptFailed
from service.workers.stages.inputs.media import probe_media

try:
    print(probe_media(Path(sys.argv[1]), kinds={"audio", "video"}, max_bytes=1_000_000,
                      max_seconds=10, timeout=timedelta(seconds=60)))
except AttemptFailed as error:
    print(error.code)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_an_index_of_forty_million_pictures_costs_no_memory(film: Film, tmp_path: Path) -> None:
    count = 40_000_000
    content = without(film("silent.mp4").read_bytes(), b"edts", b"ctts")
    content = with_numbers(content, b"stts", 0, 1, count, 512)
    content = with_numbers(content, b"stsc", 0, 1, 1, count, 1)
    path = tmp_path / "bomb.mp4"
    path.write_bytes(with_numbers(content, b"stsz", 0, 1, count))

    command = [sys.executable, "-c", MEASURE, str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert said[0] == "media_unreadable"
    assert int(said[1]) < 500


@pytest.mark.parametrize("program", ["exec sleep 60", "trap '' TERM; while :; do :; done"])
def test_ffmpeg_is_ended_when_it_takes_too_long(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    slow = tmp_path / "ffmpeg"
    slow.write_text(f"#!/bin/sh\n{program}\n")
    slow.chmod(0o700)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(slow))

    assert refusals(film("sound.wav"), timeout=timedelta(seconds=0.1)) == {"media_timeout"}


def test_ffmpeg_is_ended_when_it_says_too_much(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = film("sound.wav")
    endless = tmp_path / "ffmpeg"
    endless.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *framecrc*) exec {imageio_ffmpeg.get_ffmpeg_exe()} "$@";; esac\n'
        "head -c 10000000 /dev/zero\nexec sleep 1000\n"
    )
    endless.chmod(0o700)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(endless))

    with pytest.raises(AttemptFailed) as caught:
        decode(sound, timeout=timedelta(seconds=999))

    assert caught.value.code == "media_too_long"


# Files that point elsewhere


def hls(where: str) -> str:
    return (
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n#EXT-X-MEDIA-SEQUENCE:0\n"
        f"#EXTINF:2.0,\n{where}\n#EXT-X-ENDLIST\n"
    )


def dash(where: str) -> str:
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT2S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011">'
        '<Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="1">'
        f"<BaseURL>{where}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )


def svg(where: str) -> str:
    return (
        '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink" width="8" height="8">'
        f'<image width="8" height="8" href="{where}" xlink:href="{where}"/></svg>'
    )


def sdp(where: str) -> str:
    return f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns={where}\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n"


def concat(where: str) -> str:
    return f"ffconcat version 1.0\nfile '{where}'\n"


def crafted(where: str) -> str:
    return f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{where}"\n#EXTINF:2.0,\n{where}\n'


@pytest.mark.parametrize("form", [hls, dash, svg, sdp, concat, crafted, str])
@pytest.mark.parametrize(
    "where",
    [
        "http://127.0.0.1:{port}/a.ts",
        "tcp://127.0.0.1:{port}",
        "file://{path}",
        "{path}",
        "subfile,,start,0,end,64,,:{path}",
        "concat:{path}|{path}",
        "crypto:{path}",
        "data:audio/wav;base64,UklGRg==",
    ],
)
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\0\0\0\0\0\0", b"ID3\x04\0\0\0\0\0\0\n"])
def test_no_playlist_leads_anywhere(
    tmp_path: Path, canary: Any, form: Callable[[str], str], where: str, tag: bytes
) -> None:
    script = form(where.format(port=canary.port, path=canary.path))
    path = tmp_path / "film.mp4"
    path.write_bytes(tag + script.encode())

    codes = refusals(path, timeout=timedelta(seconds=5))

    assert codes == ({"media_unreadable"} if tag else {"media_format"})
    assert not canary.heard()


@pytest.mark.parametrize("name", ["a.m3u8", "a.mpd", "a.ffconcat", "a.svg", "a%d.png", "a.sdp"])
def test_a_playlist_leads_nowhere_under_its_own_name_either(
    tmp_path: Path, canary: Any, name: str
) -> None:
    path = tmp_path / name
    url = f"http://127.0.0.1:{canary.port}/a.ts"
    forms = {".m3u8": hls, ".mpd": dash, ".ffconcat": concat, ".svg": svg, ".sdp": sdp}
    form = forms.get(path.suffix)
    path.write_bytes(form(url).encode() if form else saved(gradient(), "PNG"))

    assert refusals(path) == {"media_format"}
    assert not canary.heard()


def test_a_film_that_points_at_another_file_does_not_open_it(
    film: Film, tmp_path: Path, canary: Any
) -> None:
    path = tmp_path / "film.mov"
    path.write_bytes(pointing_at(film("film.mov").read_bytes(), canary.path))

    facts = probe(path)

    assert (facts.has_audio, facts.has_video) == (True, False)


def test_ffmpeg_may_open_nothing_but_what_it_is_handed(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    real = imageio_ffmpeg.get_ffmpeg_exe()
    listening = tmp_path / "ffmpeg"
    listening.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > '{said}'\nexec '{real}' \"$@\"\n")
    listening.chmod(0o700)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(listening))

    probe(film("sound.wav"))

    words = said.read_text().splitlines()
    before, after = words[: words.index("-i")], words[words.index("-i") + 1 :]
    assert before[before.index("-protocol_whitelist") + 1] == "fd"
    assert before[before.index("-format_whitelist") + 1] == FORMATS
    assert "-codec_whitelist" in before
    assert after[0] == "fd:"
    assert after[-3:] == ["-protocol_whitelist", "pipe", "pipe:1"]
    assert words.count("-i") == 1


# Whatever the bytes

NAMES = ["sound.wav", "sound.mp3", "sound.m4a", "sound.flac", "sound.ogg", "film.mp4", "film.webm"]


@given(
    name=st.sampled_from(NAMES),
    changes=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(max_size=8)), max_size=6
    ),
)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_the_bytes_there_are_facts_or_a_reason(
    film: Film, tmp_path: Path, name: str, changes: list[tuple[float, int, bytes]]
) -> None:
    content = film(name).read_bytes()
    for where, taken, put in changes:
        # Most of it near the beginning, where the headers are.
        place = int(where**4 * len(content))
        content = content[:place] + put + content[place + taken * len(put) :]
    path = tmp_path / "file"
    path.write_bytes(content)

    with contextlib.suppress(AttemptFailed):
        assert probe(path).duration_seconds <= 10.1
    with contextlib.suppress(AttemptFailed):
        assert decode(path) <= 10.1
