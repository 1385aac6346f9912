"""What more trials may gain over the best score so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from study.evidence.agreement import ENOUGH

DRAWS = 20_000
LAST = 20
SURE = 0.9


def possible_gain(scores: Sequence[float], best: float, more: int) -> float | None:
    """How far ln(best score) falls at most by so many more trials, with 90 % probability.

    Further trials are taken to score like the last twenty: ln(score) is normal, its mean and
    variance are as uncertain as these scores leave them (Gelman et al. 2013, *Bayesian Data
    Analysis*, section 3.2). Their luck counts as gain, so the real gain is less. The scores of a
    sampler that still learns are more scattered, which makes this larger, as it should.

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

    logs = np.log(np.asarray(scores[-LAST:], dtype=float))
    count, rng = len(logs), np.random.default_rng(0)
    spread = logs.std(ddof=1) * np.sqrt((count - 1) / rng.chisquare(count - 1, DRAWS))
    centre = logs.mean() + spread * rng.standard_normal(DRAWS) / np.sqrt(count)
    # The lowest of n uniform numbers is distributed as 1 - u^(1/n).
    lowest = 1 - rng.uniform(size=DRAWS) ** (1 / more)
    reached = centre + spread * ndtri(lowest)
    return float(np.quantile(np.maximum(np.log(best) - reached, 0), SURE))
