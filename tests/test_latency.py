"""Latencies: p50 and p99 are values that were measured."""

from spooler.latency import Latencies, quantile


def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    ascending = [float(number) for number in range(1, 101)]
    assert [quantile(ascending, share) for share in (0.001, 0.5, 0.99, 1.0)] == [1.0, 50.0, 99.0, 100.0]
    assert quantile([7.0], 0.5) == 7.0


def test_latencies_sum_up_what_each_took_in_any_order() -> None:
    assert Latencies.of([0.003, 0.001, 0.002], 1.5) == Latencies(3, 2.0, 2.0, 3.0, 3.0)
