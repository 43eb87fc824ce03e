from datetime import UTC, datetime

import pytest

from service.domain.models.catalog import CARDS
from service.domain.price import (
    GPUS,
    MODAL_TABLE,
    MODAL_USD_PER_SECOND,
    Balance,
    Charge,
    Rates,
    month_of,
    table_of,
)

MODAL = Rates(MODAL_TABLE, GPUS)


@pytest.mark.parametrize(
    ("reported", "name"),
    [
        ("Tesla T4", "T4"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA A10G", "A10"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA A100-PCIE-40GB", "A100-40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA B200", "B200"),
    ],
)
def test_what_a_driver_calls_a_gpu_has_a_rate(reported: str, name: str) -> None:
    rate = MODAL.actual("ltx-2b", reported)

    assert (rate.gpu, rate.usd_per_second) == (name, MODAL_USD_PER_SECOND[name])
    assert rate.source == f"{name} by Modal's list of 2026-07"


@pytest.mark.parametrize(
    "reported",
    ["NVIDIA L40", "NVIDIA GH200 480GB", "NVIDIA RTX 6000 Ada Generation", "NVIDIA B300", "x" * 64],
)
def test_one_that_is_not_in_the_table_costs_as_the_dearest_and_says_so(reported: str) -> None:
    rate = MODAL.actual("ltx-2b", reported)

    assert rate.usd_per_second == MODAL_USD_PER_SECOND["L40S"]
    assert rate.source.startswith(f"{reported[:40]} has no rate; the highest for ltx-2b: L40S by")
    assert len(rate.source) <= 120


def test_one_that_nobody_named_costs_as_the_dearest_and_says_so() -> None:
    rate = MODAL.actual("ltx-2b", None)

    assert rate.usd_per_second == MODAL_USD_PER_SECOND["L40S"]
    assert rate.source.startswith("no worker named its GPU; the highest for ltx-2b")


def test_a_model_that_is_unknown_costs_as_the_dearest_of_all() -> None:
    assert MODAL.actual("gone", None).gpu == "B200"
    assert MODAL.expected("gone").gpu == "B200"


def test_the_estimate_is_by_the_gpu_that_is_tried_first() -> None:
    instead = Rates(MODAL_TABLE, {**GPUS, "ltx-2b": ("H100", "L40S")})

    assert MODAL.expected("ltx-2b").gpu == "L40S"
    assert instead.expected("ltx-2b").gpu == "H100"


def test_a_model_that_needs_no_gpu_costs_nothing() -> None:
    assert MODAL.expected("slate").usd_per_second == 0
    assert MODAL.actual("slate", "NVIDIA H100 80GB HBM3").usd_per_second == 0


def test_own_hardware_costs_nothing_unless_its_owner_names_a_rate() -> None:
    owned = Rates(table_of({"RTX 4090": 0.0001, "4090": 9.0}, "RUSHES_GPU_RATES"), GPUS, host=2e-5)

    assert Rates(gpus=GPUS).actual("ltx-2b", "NVIDIA GeForce RTX 4090").usd_per_second == 0
    assert Rates(gpus=GPUS).expected("ltx-2b").source == "own hardware: not billed"
    rate = owned.actual("ltx-2b", "NVIDIA GeForce RTX 4090")  # the name that says most counts
    assert rate.usd_per_second == pytest.approx(0.00012)
    assert rate.source == "RTX 4090 by RUSHES_GPU_RATES"
    assert owned.expected("ltx-2b").usd_per_second == pytest.approx(9.00002)


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS.keys())
def test_every_gpu_of_every_card_has_a_rate(card) -> None:  # type: ignore[no-untyped-def]
    assert [MODAL.actual(card.name, name).gpu for name in card.gpus] == list(card.gpus)


def test_a_charge_is_booked_under_the_gpu_it_ran_on() -> None:
    now = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)

    def booked(reported: str | None, rates: Rates = MODAL) -> str:
        return Charge(now, 1000, rates.actual("ltx-2b", reported), reported).booked_under

    assert booked("NVIDIA A10G") == "A10"
    assert booked("NVIDIA L40") == "NVIDIA L40"
    assert booked("NVIDIA L40", Rates(gpus=GPUS)) == "NVIDIA L40"
    assert booked(None) == ""


def test_a_charge_is_whole_millionths() -> None:
    now = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)

    assert Charge(now, 1234, MODAL.actual("ltx-2b", "NVIDIA L40S")).microusd == 669
    assert Charge(now).microusd == 0


def test_months_follow_each_other_over_a_new_year() -> None:
    december = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)

    assert month_of(datetime(2027, 1, 1, tzinfo=UTC)) == month_of(december) + 1


def test_a_balance_allows_what_is_left_and_no_more() -> None:
    balance = Balance(budget=10, spent=4, reserved=3)

    assert (balance.remaining, balance.allows(3), balance.allows(4)) == (3, True, False)
    assert Balance(budget=1, spent=4).remaining == 0
    assert (Balance(None, spent=4).remaining, Balance(None, spent=4).allows(10**15)) == (None, True)
