"""Many files at once: a `map` in threads whose memory is bounded, and photos read with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from dcgan.data.decode import PhotoFacts, Pixels, quiet_pillow, read_photo
from dcgan.runtime.devices import processors

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@contextmanager
def in_threads(
    function: Callable[[ItemT], ResultT], items: Sequence[ItemT]
) -> Iterator[Iterator[ResultT]]:
    """Like `map`, in one thread per processor. At most four results per thread wait in memory.

    The end of the `with` block cancels the calls that have not begun. (A plain generator that is
    left unfinished joins its threads when it is garbage collected. If that happens inside the start
    of another thread, both wait for each other forever.)
    """
    threads = processors()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="photos")

    def results() -> Iterator[ResultT]:
        waiting: deque[Future[ResultT]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 4 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield results()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def read_photos(
    paths: Sequence[Path], image_size: int | None
) -> Iterator[Iterator[tuple[PhotoFacts, Pixels | None]]]:
    """`decode.read_photo` of each path, in threads, in the order of `paths`."""
    with quiet_pillow(), in_threads(partial(read_photo, image_size=image_size), paths) as results:
        yield results
