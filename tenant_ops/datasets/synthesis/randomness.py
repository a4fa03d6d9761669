"""Randomness without a state: every draw is a hash of the seed, its purpose and the row's number.

Here: hashed bits, numbers below a bound, permutations. Not here: what the numbers become.

A value of row 900,000 is worked out without its 899,999 predecessors, so chunks of any size give the same
rows, and a child row reads its parent's values instead of remembering them. Only integer arithmetic and
single IEEE multiplications are used: the same seed gives the same values on every platform and in every
version of numpy (whose own distributions may change between versions).
"""

from hashlib import blake2b
from math import gcd

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint64]
Index = npt.NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LARGEST_EXACT = 2**31 - 1


def bits(seed: int, purpose: str, index: Index) -> Bits:
    """64 hashed bits per row: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    z = index.astype(np.uint64) * _GOLDEN + np.uint64(_key(seed, purpose))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def below(drawn: Bits, bound: int | Index) -> Index:
    """A whole number from 0 to `bound` - 1 per row; `bound` is one number or one per row."""
    return (drawn % np.asarray(bound).astype(np.uint64)).astype(np.int64)


def unit(drawn: Bits) -> npt.NDArray[np.float64]:
    """A number from 0 up to but not including 1 per row."""
    return (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53


def skewed(drawn: Bits, bound: int, power: int = 2) -> Index:
    """As `below`, but small numbers are far more frequent: density x^(1/power - 1), a power law."""
    u = unit(drawn)
    share = u
    for _ in range(power - 1):
        share = share * u
    return np.minimum((share * bound).astype(np.int64), bound - 1)


def bell(drawn: Bits, bound: int) -> Index:
    """As `below`, but numbers near the middle are more frequent: the mean of four uniform draws."""
    parts = drawn.view(np.uint16).reshape(-1, 4).sum(axis=1, dtype=np.uint64)
    share = parts.astype(np.float64) * 2.0**-18
    return np.minimum((share * bound).astype(np.int64), bound - 1)


def permuted(seed: int, purpose: str, index: Index, size: int) -> Index:
    """A different number below `size` for each number below `size`, in a scattered order."""
    if size > _LARGEST_EXACT:  # keeps the products below in 64 bits
        return permuted(seed, purpose, index, _LARGEST_EXACT) * (size // _LARGEST_EXACT)
    stride = max(1, int(size * 0.6180339887))
    while gcd(stride, size) != 1:
        stride += 1
    return (index * stride + _key(seed, purpose) % size) % size


def _key(seed: int, purpose: str) -> int:
    return int.from_bytes(blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest(), "big")
