"""A model's statistics, in the units of Triton's statistics extension."""

from concurrent.futures import ThreadPoolExecutor

from service.inference.model_statistics import ModelStatistics


def test_every_image_of_a_batch_waits_for_the_whole_batch() -> None:
    statistics = ModelStatistics(clock=lambda: 1_700_000_000.25)
    statistics.add_batch(images=4, queue_ns=100, compute_input_ns=1, compute_infer_ns=20, compute_output_ns=3)
    statistics.add_batch(images=1, queue_ns=7, compute_input_ns=1, compute_infer_ns=5, compute_output_ns=1)
    snapshot = statistics.snapshot()
    assert (snapshot["inference_count"], snapshot["execution_count"], snapshot["last_inference"]) == (
        5,
        2,
        1_700_000_000_250,
    )
    assert snapshot["inference_stats"]["queue"] == {"count": 5, "ns": 107}
    assert snapshot["inference_stats"]["compute_infer"] == {"count": 5, "ns": 85}
    assert [each["batch_size"] for each in snapshot["batch_stats"]] == [1, 4]
    assert snapshot["batch_stats"][1]["compute_infer"] == {"count": 1, "ns": 20}


def test_requests_and_cache_lookups_are_counted_separately() -> None:
    statistics = ModelStatistics(clock=lambda: 1.0)
    for _ in range(3):
        statistics.add_success(10)
    statistics.add_failure(4)
    statistics.add_cache_miss(2)
    assert statistics.snapshot()["last_inference"] == 0
    statistics.add_cache_hit(5)
    snapshot = statistics.snapshot()
    assert {name: pair for name, pair in snapshot["inference_stats"].items() if pair["count"]} == {
        "success": {"count": 3, "ns": 30},
        "fail": {"count": 1, "ns": 4},
        "queue": {"count": 1, "ns": 0},
        "cache_hit": {"count": 1, "ns": 5},
        "cache_miss": {"count": 1, "ns": 2},
    }
    assert (snapshot["inference_count"], snapshot["last_inference"]) == (0, 1000)


def test_concurrent_threads_lose_no_counts() -> None:
    statistics = ModelStatistics()

    def work(_: int) -> None:
        for _ in range(500):
            statistics.add_batch(images=2, queue_ns=1, compute_input_ns=1, compute_infer_ns=1, compute_output_ns=1)
            statistics.add_success(1)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    snapshot = statistics.snapshot()
    assert (snapshot["inference_count"], snapshot["inference_stats"]["success"]) == (4000, {"count": 2000, "ns": 2000})
    assert snapshot["batch_stats"][0]["compute_infer"] == {"count": 2000, "ns": 2000}
