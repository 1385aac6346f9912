"""Many files at once: a `map` in threads whose memory is bounded, and photos read with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from dcgan.data.decode import PhotoFacts, Pixels, quiet_pillow, read_photo
from dcgan.runtime.devices import processors

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def in_threads(
    function: Callable[[ItemT], ResultT], items: Sequence[ItemT]
) -> Generator[ResultT, None, None]:
    """Like `map`, in one thread per processor. At most four results per thread wait in memory.

    Closing the generator cancels the calls that have not begun.
    """
    threads = processors()
    waiting: deque[Future[ResultT]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="photos")
    try:
        for item in items:
            waiting.append(pool.submit(partial(function, item)))
            if len(waiting) > 4 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def read_photos(
    paths: Sequence[Path], image_size: int | None
) -> Generator[tuple[PhotoFacts, Pixels | None], None, None]:
    """`decode.read_photo` of each path, in threads, in the order of `paths`."""
    results = in_threads(partial(read_photo, image_size=image_size), paths)
    with quiet_pillow(), closing(results):
        yield from results
