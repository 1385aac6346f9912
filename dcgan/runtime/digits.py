"""Numbers as a person reads them."""

from __future__ import annotations


def in_digits(value: float) -> str:
    """A distance or score as a person reads it: four digits, but no more than three decimals.

    Examples:
        >>> in_digits(1920.123), in_digits(52.0512), in_digits(0.98765)
        ('1920', '52.05', '0.988')
    """
    whole = len(f"{abs(value):.0f}")
    return f"{value:.{max(0, 4 - max(1, whole))}f}"
