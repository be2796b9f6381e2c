"""The bridge's benchmark runs, its three ways give the same answer, and a call of ours leaves nothing behind."""

from benchmarks import bridge


def test_figures():
    figures = bridge.measure(quick=True)
    assert figures["ratio_http"] > 1  # of small frames and few repeats: far below the real figure
    assert figures["round_trip_us"] < 10_000
    assert figures["allocations_per_call"] < 0.05 and figures["bytes_kept_per_call"] < 1
    assert figures["peak_bytes_per_call"] < 16 * 64 * 64 * 3 / 4  # nothing of the size of the frames
