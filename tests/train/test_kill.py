"""A training in a process that is killed again and again goes on as if nothing had happened."""

import os

from tests.train.kill_run import runs

RUNS = int(os.environ.get("GRAPHC_KILL_RUNS", "1"))
"""How many trainings, each of which is killed four times. `test_store` kills at every point inside of a save."""


def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_bits():
    done = list(runs(RUNS, kills=4, seed=1))
    assert len(done) == RUNS
    assert all(killed.same for killed in done)
    assert any("checkpoint-" in found for killed in done for found in killed.checkpoints)
