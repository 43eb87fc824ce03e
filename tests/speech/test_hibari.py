"""The offline voice: its sound, and the times of its words and phones against that sound."""
# ruff: noqa: RUF001 - quotes and phonetic letters

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hibari import g2p
from numpy.typing import NDArray

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.speech import MAX_CHARACTERS
from service.speech.base import Spoken, Voice
from service.speech.hibari import HibariVoice, _passages, installed_voices
from service.speech.hibari_script import _sentences, split_words
from service.speech.hibari_timing import fits
from tests.speech.sound import levels

PROSE = (
    "The quick brown fox jumps over the lazy dog. She sells sea shells by the sea shore, and "
    "nobody knows why. On Monday seven people paid nine dollars each to hear it read aloud. It "
    "was a dark and stormy night; the rain fell in torrents."
)
TEXTS = [
    PROSE,
    "Hello",
    'Dr. Smith paid $9.99 at 7:30 pm — for 23 "apples." On 3/4/2024, J. K. Rowling said (hello).',
    "It is 5-10 km, approx. 40% more & then... 你好 world! *** Bye",
    "— Wait. 😀 Really?! (No.) [Yes] “So,” he said. ‘Fine’ — ok",
    "First line\nsecond line\n\nA new paragraph, with 1,250 words.",
    "It's well-known: don't e-mail admin@example.com or see https://example.com/a?b=c today.",
    "NASA's U.S. team won 3-2 in 1984, i.e. 40 years ago; No. 5 ran 26.2 mi. in 2h10.",
    "[link](/lˈɪŋk/) and [other](https://example.com) text",
    "and on " * 150,  # no punctuation: more than the model reads at once
    "12345678901234567890 +1-800-555-0199 €5m ¥100 -40°C ½ cup",
    "So: " + "1/" * 100 + " and " + "a-b" * 60 + ".",  # words of more parts than hibari can read
    "7:30 pm " * 150,  # a sentence of more words than can be aligned
]
SONORITY = {
    **dict.fromkeys("aæʌəɜɛeɪiɔoʊu", 1.0),
    **dict.fromkeys("wɹlj", 0.7),
    **dict.fromkeys("mth", 0.4),
    **dict.fromkeys("fθsʃk", 0.15),
}


def speak(voice: Voice, text: str, seed: int = 1, speed: float = 1.0) -> Spoken:
    return voice.speak(text, seed=seed, speed=speed)


def level(speech: Spoken, start: float, end: float) -> float:
    """The loudness of a span of seconds, in dB."""
    part = levels(speech)[int(start * speech.rate) : int(end * speech.rate)]
    return float(10 * np.log10(np.mean(part.astype(np.float64) ** 2) + 1e-10))


def failure(voice: Voice, text: str, speed: float = 1.0) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        speak(voice, text, speed=speed)
    return caught.value


def test_a_seed_gives_one_sound_and_another_seed_another(heart: HibariVoice) -> None:
    first, again, other = (speak(heart, "Good morning.", seed) for seed in (3, 3, 4))

    assert first.samples == again.samples
    assert first.words == again.words
    assert first.samples != other.samples


def test_the_sound_is_mono_of_24_khz(heart: HibariVoice) -> None:
    speech = speak(heart, "Good morning.")

    assert speech.rate == 24_000
    assert 0.05 < np.abs(levels(speech)).max() <= 1.0
    assert 0.5 < speech.seconds < 3
    assert speech.cost_usd == 0


def test_a_higher_speed_is_shorter(heart: HibariVoice) -> None:
    slow, fast = (speak(heart, PROSE, speed=speed) for speed in (0.8, 1.6))

    assert 1.6 < slow.seconds / fast.seconds < 2.4
    assert len(slow.words) == len(fast.words)


@pytest.mark.parametrize("text", TEXTS)
def test_words_are_the_text_in_order_and_inside_the_sound(heart: HibariVoice, text: str) -> None:
    speech = speak(heart, text)

    words = [word for word in text.split() if word not in speech.unspoken]
    assert " ".join(word.text for word in speech.words) == " ".join(words)
    assert speech.words[0].start >= 0
    assert speech.words[-1].end <= speech.seconds
    assert all(word.end - word.start >= 0.02 for word in speech.words)
    assert all(one.end <= two.start for one, two in pairwise(speech.words))


@pytest.mark.parametrize("text", TEXTS)
def test_phones_are_in_order_and_inside_the_words(heart: HibariVoice, text: str) -> None:
    speech = speak(heart, text)

    assert speech.phones
    assert all(0 <= phone.start <= phone.end <= speech.seconds for phone in speech.phones)
    assert all(one.end <= two.start for one, two in pairwise(speech.phones))
    assert speech.phones[0].start == speech.words[0].start
    assert speech.phones[-1].end == speech.words[-1].end


def test_a_number_has_the_time_of_all_the_words_that_it_is_read_as(heart: HibariVoice) -> None:
    figures = {word.text: word for word in speak(heart, "I paid $9.99 at noon.").words}
    letters = speak(heart, "I paid nine dollars and ninety nine cents at noon.").words

    amount = figures["$9.99"]
    assert amount.end - amount.start == pytest.approx(letters[7].end - letters[2].start, abs=0.15)


def test_a_time_of_day_is_divided_between_its_written_words(heart: HibariVoice) -> None:
    times = {word.text: word for word in speak(heart, "We meet at 7:30 pm today.").words}
    letters = speak(heart, "We meet at seven thirty P.M. today.").words

    clock, half = times["7:30"], times["pm"]
    assert clock.end - clock.start == pytest.approx(letters[4].end - letters[3].start, abs=0.1)
    assert half.end - half.start == pytest.approx(letters[5].end - letters[5].start, abs=0.1)


def test_a_long_reading_and_a_short_one_side_by_side_are_divided_by_their_lengths(
    heart: HibariVoice,
) -> None:
    date, weight = speak(heart, "12/25/2024 10kg").words
    letters = speak(heart, "December twenty fifth, twenty twenty four ten kilograms").words

    assert date.end - date.start == pytest.approx(letters[5].end - letters[0].start, abs=0.2)
    assert weight.end - weight.start == pytest.approx(letters[7].end - letters[6].start, abs=0.2)


def test_a_mark_that_is_not_heard_is_joined_to_a_word(heart: HibariVoice) -> None:
    texts = [word.text for word in speak(heart, "— Yes — no 😀").words]

    assert texts == ["— Yes —", "no 😀"]


def test_words_of_another_script_are_not_spoken_and_named(heart: HibariVoice) -> None:
    plain = speak(heart, "Hello, dear world. Bye ½ of you.")

    speech = speak(heart, "Hello, dear Привет你好 world мир. Bye नमस्ते ½日 of you ⅷ.")

    assert speech.unspoken == ("Привет你好", "мир", "नमस्ते", "日", "ⅷ.")
    assert [word.text for word in speech.words] == "Hello, dear world. Bye ½ of you".split()
    assert speech.seconds == pytest.approx(plain.seconds, abs=0.2)
    assert plain.unspoken == ()


@pytest.mark.parametrize("text", ["café Łódź Ærø", "x² 5 µm π", "donʼt ❤️ e\u0301te\u0301", "Ｈｉ"])
def test_letters_that_it_reads_stay(heart: HibariVoice, text: str) -> None:
    speech = speak(heart, text)

    assert (speech.unspoken, " ".join(word.text for word in speech.words)) == ((), text)


def test_words_stand_where_the_sound_has_a_pause(heart: HibariVoice) -> None:
    speech = speak(heart, "The first sentence ends here. Then another one begins.")

    last, first = speech.words[4], speech.words[5]
    assert (last.text, first.text) == ("here.", "Then")
    assert first.start - last.end > 0.2
    pause = level(speech, last.end + 0.03, first.start - 0.03)
    assert pause < level(speech, last.start, last.end) - 20
    assert pause < level(speech, first.start, first.end) - 20


def test_the_last_word_ends_with_the_sound(heart: HibariVoice) -> None:
    speech = speak(heart, "The first sentence ends here.")

    word = speech.words[-1]
    assert speech.seconds - word.end > 0.05
    assert level(speech, word.end + 0.02, speech.seconds) < level(speech, 0, word.end) - 25


def sonority(speech: Spoken, num_frames: int) -> NDArray[np.float64]:
    curve = np.zeros(num_frames)
    for phone in speech.phones or ():
        curve[round(phone.start * 100) : round(phone.end * 100)] = SONORITY[phone.name]
    return curve


def test_phones_stand_where_the_sound_has_them(heart: HibariVoice) -> None:
    speech = speak(heart, PROSE)
    hop = speech.rate // 100
    sound = levels(speech)
    num_frames = len(sound) // hop
    frames = sound[: num_frames * hop].reshape(num_frames, hop)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    energy = 10 * np.log10(power[:, 2:30].mean(axis=1) + 1e-4)  # of 200 to 3000 Hz
    curve = sonority(speech, num_frames)

    fits = {lag: np.corrcoef(np.roll(curve, lag), energy)[0, 1] for lag in range(-10, 11)}

    assert fits[0] > 0.6
    assert abs(max(fits, key=lambda lag: fits[lag])) <= 2  # of 10 ms


def test_the_vowels_of_stressed_syllables_are_marked(heart: HibariVoice) -> None:
    phones = speak(heart, "Banana").phones

    assert phones is not None
    vowels = [phone for phone in phones if phone.name in "aæʌə"]
    assert [vowel.is_stressed for vowel in vowels] == [False, True, False]


def test_another_release_speaks_without_times(heart: HibariVoice) -> None:
    model = Path(heart._model)
    other = HibariVoice("heart", model, "en-US", tensor="/Cast_of_another_release")

    speech = speak(other, "Good morning.")

    assert speech.words == ()
    assert speech.phones is None
    assert speech.samples == speak(heart, "Good morning.").samples


def test_a_tensor_that_means_something_else_gives_no_times(heart: HibariVoice) -> None:
    # A tensor of whole numbers, as the durations are, but of another shape.
    other = HibariVoice("heart", Path(heart._model), "en-US", tensor="/Cast_10_output_0")

    assert speak(other, "Good morning.").phones is None


@pytest.mark.parametrize(
    ("durations", "is_fit"),
    [([1, 2, 3], True), ([1, 2, 4], False), ([7, -3, 2], False), ([1.0, 2.0, 3.0], False)],
)
def test_durations_are_whole_and_add_up_to_the_sound(durations: list[int], is_fit: bool) -> None:
    assert fits(np.array(durations), 3, 6 * 600) == is_fit


def test_the_model_runs_on_one_thread(heart: HibariVoice) -> None:
    speak(heart, "Hello.")

    assert heart._engine is not None
    options = heart._engine.tts.sess.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "text_empty"),
        (" \n ", "text_empty"),
        ("… — !? 😀", "text_without_words"),
        ("你好世界", "text_without_words"),
        ("word " * (MAX_CHARACTERS // 5 + 1), "text_too_long"),
        ("9" * MAX_CHARACTERS, "text_not_readable"),
        ("$123456789,123456789.99 " * 200, "text_too_long"),
    ],
)
def test_a_text_that_cannot_be_spoken_is_the_users_fault(
    heart: HibariVoice, text: str, code: str
) -> None:
    refusal = failure(heart, text)

    assert (refusal.kind, refusal.code) == (FailureKind.USER, code)
    assert "text" in refusal.message


def test_a_word_that_cannot_be_read_is_named(heart: HibariVoice) -> None:
    refusal = failure(heart, "Step ①a: begin")

    assert (refusal.kind, refusal.code) == (FailureKind.USER, "text_not_readable")
    assert "'①a:'" in refusal.message


@pytest.mark.parametrize("part", ["1/", "a-", "a1", "aA", "a&", "😀"])
def test_a_word_of_thousands_of_parts_takes_bounded_work(
    heart: HibariVoice, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where hibari reads a word in one piece, it joins the parts of all of its ends again and
    again: of this one, 20 thousand million."""
    speak(heart, "Hello.")
    assert heart._engine is not None
    num_parts, merge = 0, g2p.merge_tokens

    def count(tokens: list[Any], **options: Any) -> Any:
        nonlocal num_parts
        num_parts += len(tokens)
        assert num_parts < 5_000_000
        return merge(tokens, **options)

    monkeypatch.setattr(g2p, "merge_tokens", count)

    found = _passages(heart._engine.tts, part * 2400 + "a")

    assert sum(len(passage.phonemes) for passage in found) > 0


def test_a_long_sentence_is_aligned_in_parts(heart: HibariVoice) -> None:
    speak(heart, "Hello.")
    assert heart._engine is not None
    text = "1:30 b, " * 600 + "and so on. Yes."

    parts = list(_sentences(heart._engine.tts, text))

    assert " ".join(parts) == text
    assert len(parts) > 6
    assert max(len(part.split()) for part in parts) <= 200


def test_a_word_that_is_read_in_parts_is_read_as_it_was(heart: HibariVoice) -> None:
    speak(heart, "Hello.")
    assert heart._engine is not None
    tts = heart._engine.tts
    address = "https://example.com/" + "/".join("abcdefghijklmnopqrstuvw") + "?x=1&y=2"
    assert split_words(address) != address

    found = "".join(passage.phonemes for passage in _passages(tts, address))

    assert found.replace(" ", "") == tts.g2p(address).replace(" ", "")


@pytest.mark.parametrize("speed", [0.0, 0.4, 2.1, float("nan"), float("inf")])
def test_a_speed_out_of_range_names_the_range(heart: HibariVoice, speed: float) -> None:
    refusal = failure(heart, "Hello", speed)

    assert (refusal.kind, refusal.code) == (FailureKind.USER, "speed_out_of_range")
    assert "0.5 to 2" in refusal.message


def test_only_voices_on_this_machine_are_listed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HIBARI_HOME", str(tmp_path))

    (voice,) = installed_voices()

    assert voice.info.id == "hibari-heart"
    assert voice.info.language == "en-US"
    assert voice.info.has_words


def test_a_voice_that_was_put_there_is_listed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, heart: HibariVoice
) -> None:
    monkeypatch.setenv("HIBARI_HOME", str(tmp_path))
    (tmp_path / "bf_emma.int8.onnx").write_bytes(Path(heart._model).read_bytes())

    voices = {voice.info.id: voice for voice in installed_voices()}

    assert set(voices) == {"hibari-heart", "hibari-emma"}
    assert voices["hibari-emma"].info.language == "en-GB"
    assert speak(voices["hibari-emma"], "Good morning.").words
