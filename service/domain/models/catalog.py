"""The models there are, as data. A new model is one card, one adapter, one registry line."""

from service.domain.errors import Unavailable
from service.domain.models.card import ModelCard
from service.domain.models.cards.hunyuan import HUNYUAN, HUNYUAN_15
from service.domain.models.cards.ltx import LTX_2B as LTX_2B
from service.domain.models.cards.ltx import LTX_2B_DEV, LTX_13B
from service.domain.models.cards.mochi import MOCHI
from service.domain.models.cards.slate import SLATE as SLATE
from service.domain.models.cards.wan import WAN_5B, WAN_5B_FAST

_ALL = (SLATE, LTX_2B, LTX_2B_DEV, LTX_13B, WAN_5B, WAN_5B_FAST, MOCHI, HUNYUAN, HUNYUAN_15)

CARDS: dict[str, ModelCard] = {card.name: card for card in _ALL}


def _check_accepted(accepted: list[str]) -> None:
    """What is accepted must be something: a name misspelt would look like consent."""
    known = {*CARDS, *(card.licence.name for card in CARDS.values())}
    for name in accepted:
        if name not in known:
            raise Unavailable(
                f"RUSHES_ACCEPT_LICENCES names {name!r}, which is neither a model nor a licence"
            )


def _check_licence(card: ModelCard, accepted: list[str]) -> None:
    """Nobody serves by mistake what its licence keeps some from using."""
    licence = card.licence
    if not licence.opt_in or card.name in accepted or licence.name in accepted:
        return
    raise Unavailable(
        f"{card.name} is under the licence {licence.name}: {'; '.join(licence.limits)}. "
        f"Read {licence.url}, and if you may and do accept it, add {card.name!r} to "
        "RUSHES_ACCEPT_LICENCES"
    )
