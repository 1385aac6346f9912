"""What more trials are expected to gain over the best score so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from study.evidence.agreement import ENOUGH

DRAWS = 4000


def expected_gain(scores: Sequence[float], best: float, more: int) -> float | None:
    """The expected fall of ln(best score) by so many more trials.

    Further trials are taken to score like the last ones: ln(score) is normal, its mean and variance
    are as uncertain as `ENOUGH` scores leave them (Gelman et al. 2013, *Bayesian Data Analysis*,
    section 3.2). Their luck counts as gain, so the real gain is less.

    Args:
        scores: of the last trials that the sampler proposed, positive.
        best: the lowest score of all trials, positive.
        more: how many trials may follow, at least 1.

    Returns:
        None for fewer than `ENOUGH` scores.
    """
    if len(scores) < ENOUGH or best <= 0 or min(scores) <= 0:
        return None
    from scipy.special import ndtri  # late: 0.1 s

    logs = np.log(np.asarray(scores[-ENOUGH:], dtype=float))
    count, rng = len(logs), np.random.default_rng(0)
    spread = logs.std(ddof=1) * np.sqrt((count - 1) / rng.chisquare(count - 1, DRAWS))
    centre = logs.mean() + spread * rng.standard_normal(DRAWS) / np.sqrt(count)
    # The lowest of n uniform numbers is distributed as 1 - u^(1/n).
    lowest = 1 - rng.uniform(size=DRAWS) ** (1 / more)
    reached = centre + spread * ndtri(lowest)
    return float(np.maximum(np.log(best) - reached, 0).mean())
