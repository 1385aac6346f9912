"""Work that is done now and then, and takes only a small part of the time."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


class Throttle:
    """Calls a function unless the last call was just now or such calls take too long.

    `seconds` is the least pause after a call. `share` is the largest part of the time, from 0 to 1,
    that calls may take. `clock` returns seconds from any origin.
    """

    def __init__(
        self, seconds: float = 10.0, share: float = 0.05, clock: Clock = time.monotonic
    ) -> None:
        self.seconds, self.share, self.clock = seconds, share, clock
        self._next = clock()

    def __call__(self, action: Callable[[], object]) -> None:
        """Call it, at first and whenever the pause after the last call is over."""
        begun = self.clock()
        if begun < self._next:
            return
        action()
        ended = self.clock()
        self._next = ended + max(self.seconds, (ended - begun) / self.share)
