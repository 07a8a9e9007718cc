"""Answers started before they are needed: a GPU computes while the host works on earlier answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Key = TypeVar("Key")
Answer = TypeVar("Answer")


def prefetch(started: Iterable[tuple[Key, Callable[[], Answer]]], count: int) -> Iterator[tuple[Key, Answer]]:
    """Yield keys and answers, in order. started: its `next` starts an answer and returns a key and a call that waits
    for the answer. count: answers started ahead of the one that is waited for; 0 takes one after the other."""
    waiting: deque[tuple[Key, Callable[[], Answer]]] = deque()
    for one in started:
        waiting.append(one)
        if len(waiting) > count:
            key, answer = waiting.popleft()
            yield key, answer()
    for key, answer in waiting:
        yield key, answer()
