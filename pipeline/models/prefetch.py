"""Answers that are asked for before they are needed: a GPU computes while the host looks at what it answered before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Key = TypeVar("Key")
Answer = TypeVar("Answer")


def prefetch(asked: Iterable[tuple[Key, Callable[[], Answer]]], most: int) -> Iterator[tuple[Key, Answer]]:
    """Keys and answers, in order. asked: the next one starts an answer, and its call waits for it; `most` are started
    before one is waited for. 0: one after the other."""
    started: deque[tuple[Key, Callable[[], Answer]]] = deque()
    for one in asked:
        started.append(one)
        if len(started) > most:
            key, answer = started.popleft()
            yield key, answer()
    for key, answer in started:
        yield key, answer()
