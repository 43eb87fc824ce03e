"""The models there are, as data. A new model is one card, one adapter, one registry line."""

from service.domain.card import ModelCard
from service.domain.cards.hunyuan import HUNYUAN, HUNYUAN_15
from service.domain.cards.ltx import LTX_2B as LTX_2B
from service.domain.cards.ltx import LTX_2B_DEV, LTX_13B
from service.domain.cards.mochi import MOCHI
from service.domain.cards.slate import SLATE as SLATE
from service.domain.cards.wan import WAN_5B, WAN_5B_FAST

_ALL = (SLATE, LTX_2B, LTX_2B_DEV, LTX_13B, WAN_5B, WAN_5B_FAST, MOCHI, HUNYUAN, HUNYUAN_15)

CARDS: dict[str, ModelCard] = {card.name: card for card in _ALL}
