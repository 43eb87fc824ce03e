"""Phones of the engines' symbols: diphthongs and affricates are split, allophones merged."""
# ruff: noqa: RUF001 - phonetic letters

from service.domain.speech import Phone

# Symbols of workers/puppet/articulation.py, but for "", which is silence.
VOWELS = frozenset("aæʌəɜɛeɪiɔoʊu")
_CONSONANTS = frozenset("mfwɹθltsʃkjh")
# A symbol, and the symbol that it is drawn as.
_ALIASES = {
    pair[0]: pair[1]
    for pair in (
        "ɑa ɐʌ ᵊə ᵻɪ ɚɜ ɝɜ ɒɔ yu øo œɔ ɨɪ pm bm vf dt nt Tt ɾt zs ðθ ʒʃ rɹ ʧʃ ʤʃ ɡk gk ŋk xk qk "
        "ʔh ɫl ɥw çj ck ɲt ʎl ɟj βm ɸf"
    ).split()
}
_DIPHTHONGS = {"A": "eɪ", "I": "aɪ", "O": "oʊ", "Q": "əʊ", "W": "aʊ", "Y": "ɔɪ"}
_FIRST_SHARE = 0.55  # the first half of a diphthong is the longer one


def split_phone(symbol: str, start: float, end: float, is_stressed: bool) -> list[Phone]:
    """Split one symbol of an engine, perhaps of several letters, into phones.

    The times are in seconds, and the phones fill them. Symbols without a sound, such as stress
    marks, give no phone.
    """
    letters = "".join(_DIPHTHONGS.get(letter, letter) for letter in symbol)
    bases = (_ALIASES.get(letter, letter) for letter in letters)
    names = [name for name in bases if name in VOWELS or name in _CONSONANTS]
    shares = [number / len(names) for number in range(len(names))] + [1.0]
    if len(names) == 2:
        shares[1] = _FIRST_SHARE
    cuts = [start + (end - start) * share for share in shares]
    return [
        Phone(begin, finish, name, is_stressed)
        for name, begin, finish in zip(names, cuts, cuts[1:], strict=False)
    ]
