"""About how long a text takes to speak."""
# ruff: noqa: RUF001 - letters of other scripts

import pytest

from service.domain.speech import LONGEST, SHORTEST, speaking_seconds

# Measured with hibari and, where a language is named, espeak-ng.
SPOKEN = {
    "Hello.": 1.07,
    "Hello, and welcome.": 1.88,
    "Welcome back. Here is what is new.": 3.33,
    "In 1984, 1,234,567 people paid $3.99 each.": 9.18,
    "Papa made my mama a big pumpkin pie, and Bob, the baby, put marmalade on my map.": 5.85,
    "Le comité s'est réuni jeudi après-midi pour examiner dix-sept propositions.": 3.87,
    "Комитет собрался в четверг днём, чтобы рассмотреть предложения о качестве воды.": 5.0,
    "समिति ने गुरुवार दोपहर को पानी की गुणवत्ता के बारे में प्रस्तावों की समीक्षा की।": 5.22,
    "委员会星期四下午开会审查了十七项关于水质的提案。经过长时间的辩论。": 11.35,
    "いいんかいはもくようびのごごにあつまり、みずのしつについてけんとうしました。": 4.85,
}


@pytest.mark.parametrize(("text", "seconds"), SPOKEN.items())
def test_the_estimate_of_a_text_holds_what_was_measured(text: str, seconds: float) -> None:
    about = speaking_seconds(text)

    assert SHORTEST * about <= seconds <= LONGEST * about


def test_a_longer_text_takes_longer() -> None:
    lengths = [speaking_seconds("One more sentence. " * count) for count in (0, 1, 2, 100)]

    assert lengths == sorted(set(lengths))
