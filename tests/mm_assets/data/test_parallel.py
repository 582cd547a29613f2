from concurrent.futures import ThreadPoolExecutor

from mm_assets.data.parallel import map_ahead


def test_mapping_ahead_keeps_order_and_never_runs_far_ahead():
    started = []
    with ThreadPoolExecutor(2) as pool:
        results = map_ahead(pool, lambda x: started.append(x) or -x, iter(range(1000)), ahead=1)
        assert [next(results) for _ in range(10)] == [-x for x in range(10)]
        assert len(started) <= 10 + 1 + 1  # taken, waiting, just submitted
        results.close()
