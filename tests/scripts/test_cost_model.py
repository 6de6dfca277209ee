"""The cost model's promises: it gives back what it was fitted to, and falls as it must."""

import pytest
from cost_model import (
    LINKS,
    MOST_RANKS,
    USEFUL,
    Exchange,
    Network,
    allreduce_seconds,
    efficiency,
    fit,
    largest_useful,
    over,
    page,
    predictions,
)
from hypothesis import given
from hypothesis import strategies as st

networks = st.builds(Network, st.integers(1, 10**9), st.just(12288), st.integers(1, 4096), st.floats(1, 1e5))
exchanges = st.builds(Exchange, st.floats(1e-6, 1e-2), st.floats(1e-11, 1e-7))


@given(exchanges)
def test_a_fit_gives_back_the_exchange_that_it_was_made_of(exchange):
    measured = {size: allreduce_seconds(size, 2, exchange) for size in (4096, 1 << 22, 1 << 25)}
    assert fit(measured) == pytest.approx(exchange, rel=1e-6, abs=1e-9)


@given(st.integers(1, 10**9), exchanges)
def test_one_rank_exchanges_nothing_and_a_ring_carries_less_than_twice_the_bytes(size, exchange):
    assert allreduce_seconds(size, 1, exchange) == 0
    carried = allreduce_seconds(size, 64, Exchange(0.0, exchange.seconds_a_byte))
    assert carried == pytest.approx(2 * 63 / 64 * size * exchange.seconds_a_byte)


@given(networks, exchanges)
def test_the_largest_useful_number_is_the_last_that_is_useful(network, exchange):
    most = largest_useful(network, exchange)
    assert most == 1 or efficiency(network, most, exchange) >= USEFUL
    assert most == MOST_RANKS or efficiency(network, most + 1, exchange) < USEFUL


@given(networks, exchanges)
def test_a_faster_link_never_makes_fewer_ranks_useful(network, exchange):
    slow, fast = (largest_useful(network, over(exchange, bits)) for bits in sorted(LINKS.values()))
    assert slow <= fast


def test_the_page_has_the_prediction_beside_the_measured_figure():
    seed = {"gradient_bytes": 26_000_000, "row_bytes": 12288, "batch": 256, "rows_a_second": 1600.0}
    constants = {
        "allreduce_seconds": {way: {"4096": 0.0005, "33554432": 0.05} for way in ("one host", "hosts")},
        "networks": {"seed": {**seed, "two_ranks_measured": 2345.0}},
        "preprocess_rate_a_core": 100.0,
    }
    text = page({"cost_model": predictions(constants), "settings": {"cores": 2, "photographs": 2000}})
    [row] = [line for line in text.splitlines() if line.startswith("| seed")]
    assert "| 2,345 |" in row and "| 2,5" in row  # 256 rows in 160 ms, and 39 ms for the exchange
    assert "at the rate of a run of 2,000" in text
    assert "| 1,000,000 | 1.4 | 0.17 | 0.022 |" in text  # 2, 16 and 128 cores, 100 photographs a second each
