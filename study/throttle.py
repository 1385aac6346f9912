"""Something that is worth doing often, but not at any price."""

from __future__ import annotations

import time
from collections.abc import Callable


class Throttle:
    """Does something when asked, unless it was done just now or took too large a share of the time.

    Args:
        seconds: the least pause after each time.
        share: the largest part of the time it may take.
        clock: seconds from any beginning.
    """

    def __init__(
        self,
        seconds: float = 10.0,
        share: float = 0.05,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds, self.share, self.clock = seconds, share, clock
        self._next = clock()

    def __call__(self, action: Callable[[], object]) -> None:
        """Do it, at the first call and whenever the pause after the last time is over."""
        begun = self.clock()
        if begun < self._next:
            return
        action()
        ended = self.clock()
        self._next = ended + max(self.seconds, (ended - begun) / self.share)
