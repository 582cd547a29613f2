import subprocess
import sys

import pytest

CODE = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
if sys.argv[1] == "tuned":
    from mm_assets.cli.process import tune_process
    tune_process()
import numpy as np

def fill(_):
    np.ones(100_000_000, np.uint8)  # 24,414 pages

with ThreadPoolExecutor(1) as pool:
    list(pool.map(fill, range(2)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    list(pool.map(fill, range(10)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what is tuned is glibc's allocator")
def test_what_a_batch_freed_the_next_one_has_without_asking_the_system():
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", CODE, how]))
        for how in ("untuned", "tuned")
    }
    assert faults["tuned"] < 100
    # Pages may be large ones of 2 MB.
    assert faults["untuned"] >= 10 * 100_000_000 / 2**21
