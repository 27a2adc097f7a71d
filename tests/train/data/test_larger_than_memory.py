import sys

import pytest

from benchmarks.larger_than_memory import one_pass, write


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_a_pass_over_a_mapped_file_takes_a_part_of_its_size(tmp_path):
    megabytes = 160
    growth = one_pass(tmp_path / "rows.npy", write(tmp_path / "rows.npy", megabytes, "float32"))
    assert growth.rows == megabytes << 8
    assert growth.steps == growth.rows // 256
    assert growth.loss < 2
    assert growth.resident < (100 << 20) < growth.file
