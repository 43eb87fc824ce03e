"""All model cards. A new one also needs an adapter (workers/adapters/registry.py)."""

from service.domain.errors import Unavailable
from service.domain.models.card import ModelCard
from service.domain.models.cards.hunyuan import HUNYUAN, HUNYUAN_15
from service.domain.models.cards.longcat import LONGCAT as LONGCAT
from service.domain.models.cards.ltx import LTX_2B as LTX_2B
from service.domain.models.cards.ltx import LTX_2B_DEV, LTX_13B
from service.domain.models.cards.mochi import MOCHI
from service.domain.models.cards.puppet import PUPPET as PUPPET
from service.domain.models.cards.slate import SLATE as SLATE
from service.domain.models.cards.wan import WAN_5B, WAN_5B_FAST

_ALL = (
    *(SLATE, LTX_2B, LTX_2B_DEV, LTX_13B, WAN_5B, WAN_5B_FAST, MOCHI, HUNYUAN, HUNYUAN_15),
    *(PUPPET, LONGCAT),
)

CARDS: dict[str, ModelCard] = {card.name: card for card in _ALL}


def check_accepted_names(accepted_names: list[str]) -> None:
    """Raise Unavailable for an accepted name that is neither a model nor a licence."""
    names = {*CARDS, *(card.licence.name for card in CARDS.values())}
    for name in accepted_names:
        if name not in names:
            raise Unavailable(
                f"RUSHES_ACCEPT_LICENCES names {name!r}, which is neither a model nor a licence"
            )


def check_licence(card: ModelCard, accepted_names: list[str]) -> None:
    """Raise Unavailable for a model whose licence must be accepted and is not."""
    licence = card.licence
    if not licence.opt_in or card.name in accepted_names or licence.name in accepted_names:
        return
    raise Unavailable(
        f"{card.name} is under the licence {licence.name}: {'; '.join(licence.limits)}. "
        f"Read {licence.url}; to accept it, add {card.name!r} to "
        "RUSHES_ACCEPT_LICENCES"
    )
