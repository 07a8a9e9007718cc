"""A process of ours: what its parent can learn and do."""

import os
import time
from multiprocessing.connection import Connection

import pytest

from pipeline.execute.child import Child


def echo(pipe: Connection) -> None:
    while True:
        pipe.send((os.getpid(), pipe.recv()))


def crash(pipe: Connection) -> None:
    os.abort()


def stubborn(pipe: Connection) -> None:
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe.send("ignores")
    time.sleep(600)


def test_a_child_is_another_process_and_answers_on_its_pipe() -> None:
    child = Child(echo)
    child.pipe.send({"any": "thing"})
    assert child.pipe.recv() == (child.pid, {"any": "thing"})
    assert child.pid != os.getpid()
    assert child.resident() > 1 << 20
    child.stop()
    assert child.resident() == 0


def test_a_dead_child_ends_its_pipe_and_says_how_it_ended() -> None:
    child = Child(crash)
    with pytest.raises(EOFError):
        child.pipe.recv()
    assert child.ending() == "SIGABRT"
    child.stop()


def test_a_child_that_does_not_leave_is_ended_after_the_patience() -> None:
    child = Child(stubborn)
    assert child.pipe.recv() == "ignores"
    child.leave()
    child.stop(patience=0.2)
    assert child.ending() == "SIGKILL"
