"""Start times and memory of the embedded runtime against the bars of the design: 5 s cold, 2 s warm, 400 MB; failing at 1.5 times."""

import time

import pytest

from meshkit.local import Stack

SLACK = 1.5
RUNS = 5


@pytest.mark.benchmark
def test_a_local_mesh_starts_within_its_bars(tmp_path, capsys):
    """Cold is an empty directory, warm is one with data; memory is that of all servers and the supervisor."""
    cold, warm, memory = [], [], []
    for run in range(RUNS):
        stack = Stack.open(tmp_path / str(run) / ".mesh")
        try:
            cold.append(_seconds_of_up(stack))
            memory.append(stack.status().pss_bytes)
            stack.down()
            warm.append(_seconds_of_up(stack))
        finally:
            stack.down(wipe=True)
    with capsys.disabled():
        print(f"\nup cold {max(cold):.2f} s, warm {max(warm):.2f} s, {max(memory) / 1e6:.0f} MB (worst of {RUNS})")
    assert max(cold) <= 5.0 * SLACK
    assert max(warm) <= 2.0 * SLACK
    assert max(memory) <= 400e6 * SLACK


def _seconds_of_up(stack: Stack) -> float:
    began = time.perf_counter()
    stack.up().raise_for_failures(stack.log_path)
    return time.perf_counter() - began
