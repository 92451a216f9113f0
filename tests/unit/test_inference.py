"""What a reading pool does beside reading."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from workers import inference


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a priority of its own there only")
def test_a_network_is_loaded_behind_everybody_else_and_read_with_beside_them():
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = priority()
    assert inference.gently(priority) == max(inference.GENTLE, before)
    assert priority() == before


def test_what_is_wrong_with_a_network_reaches_whoever_loads_it():
    def broken() -> None:
        raise ValueError("no network")

    with pytest.raises(ValueError, match="no network"):
        inference.gently(broken)
