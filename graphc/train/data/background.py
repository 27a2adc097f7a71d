"""Work that is done ahead, by threads in the background."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat
from typing import TypeVar

T = TypeVar("T")

DEPTH = 2
"""How many results wait for their reader: one hides irregular times, more only cost memory."""


def ahead(
    work: Iterable[Callable[[], T]], workers: int = 1, depth: int = DEPTH, *, settled: bool = False
) -> Iterator[T]:
    """The results of all work in order, made by threads at most `depth` results before they are read.

    What a piece of work raises is raised here in its turn, with its own traceback. With one worker the pieces
    run one after the other. Ending the iteration drops what has not begun; if it is to be
    `settled` it waits for what has.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="graphc-data")
    waiting: deque[Future[T]] = deque()
    try:
        for piece in work:
            waiting.append(pool.submit(piece))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=settled, cancel_futures=True)


def iterated_ahead(items: Iterator[T], depth: int = DEPTH) -> Iterator[T]:
    """The same items, asked for by one thread in the background; its errors come after the items before them."""
    end = object()
    # a generator that is still at work when the iteration ends could not be asked by anybody else
    for item in ahead(repeat(lambda: next(items, end)), 1, depth, settled=True):
        if item is end:
            return
        yield item  # type: ignore[misc]  # only the end is not a T
