# ruff: noqa: RUF001 - phonetic letters
import pytest

from service.domain.speech import Phone
from service.speech.phones import split_phone

HIBARI_LETTERS = "AIOQWYabdfhijklmnpstuvwzæðŋɑɒɔəɛɜɡɪɹɾʃʊʌʒʤʧθᵊᵻT"


def test_a_consonant_is_one_phone_with_its_times() -> None:
    assert split_phone("b", 1.0, 1.1, False) == [Phone(1.0, 1.1, "m")]


def test_the_first_half_of_a_diphthong_is_the_longer_one() -> None:
    first, second = split_phone("I", 1.0, 1.2, True)

    assert (first.name, second.name) == ("a", "ɪ")
    assert first.start == 1.0
    assert first.end == second.start == pytest.approx(1.11)
    assert second.end == pytest.approx(1.2)
    assert first.is_stressed
    assert second.is_stressed


@pytest.mark.parametrize("symbol", ["ˈ", "ː", " ", ",", ""])
def test_a_mark_is_no_phone(symbol: str) -> None:
    assert split_phone(symbol, 0.0, 1.0, False) == []


@pytest.mark.parametrize("symbol", HIBARI_LETTERS)
def test_every_letter_of_hibari_is_a_sound(symbol: str) -> None:
    phones = split_phone(symbol, 0.0, 1.0, False)

    assert phones[0].start == 0.0
    assert phones[-1].end == 1.0
    assert {phone.name for phone in phones} <= set("aæʌəɜɛeɪiɔoʊumfwɹθltsʃkjh")
