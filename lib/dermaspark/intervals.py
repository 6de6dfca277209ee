"""Confidence intervals for the figures of a report."""

from math import sqrt

Z95 = 1.959963984540054  # the normal distribution's 97.5 % point


def wilson(successes: int, trials: int, z: float = Z95) -> tuple[float, float] | None:
    """The score interval of a share (Wilson, "Probable Inference", JASA 1927); None without trials."""
    if trials == 0:
        return None
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
