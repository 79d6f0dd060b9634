"""Counter-based random numbers: Philox 4x64-10 keyed by (seed, agent, stream), counter = (tick, block, 0, 0).

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). The words are those of
numpy.random.Philox with key = [seed, agent * 256 + stream] and counter = [tick, block, 0, 0] (numpy adds one to the
counter before its first block). No draw of an agent depends on another agent, on the shard count or on the order of
execution.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from economy.numbers.elementary import cosine_of_turn, log

STREAMS: Final = 256  # streams per agent: the second key word is agent * 256 + stream
_U = np.uint64
_LOW = np.uint64(0xFFFFFFFF)
_M0 = np.uint64(0xD2E7470EE14C6C93)
_M1 = np.uint64(0xCA5A826395121157)
_W0 = np.uint64(0x9E3779B97F4A7C15)
_W1 = np.uint64(0xBB67AE8584CAA73B)


@njit(cache=True, inline="always")
def _high(a: np.uint64, b: np.uint64) -> np.uint64:
    """Upper 64 bits of the 128-bit product, from four 32-bit products."""
    a0, a1, b0, b1 = a & _LOW, a >> _U(32), b & _LOW, b >> _U(32)
    low = a0 * b0
    mid = a1 * b0 + (low >> _U(32))
    rest = a0 * b1 + (mid & _LOW)
    return a1 * b1 + (mid >> _U(32)) + (rest >> _U(32))


@njit(cache=True)
def philox(
    seed: int, agent: int, stream: int, tick: int, block: int
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Four 64-bit words of one block. Negative agents and ticks wrap modulo 2^64."""
    k0, k1 = _U(seed), _U(agent * STREAMS + stream)
    c0, c1, c2, c3 = _U(tick), _U(block), _U(0), _U(0)
    for _ in range(10):
        h0, l0 = _high(_M0, c0), _M0 * c0
        h1, l1 = _high(_M1, c2), _M1 * c2
        c0, c1, c2, c3 = h1 ^ c1 ^ k0, l1, h0 ^ c3 ^ k1, l0
        k0 += _W0
        k1 += _W1
    return c0, c1, c2, c3


@njit(cache=True, inline="always")
def unit(word: np.uint64) -> float:
    """The word's upper 53 bits as a number in (0, 1), never 0 or 1."""
    return (np.float64(word >> _U(11)) + 0.5) / 9007199254740992.0


@njit(cache=True)
def bits(seed: int, agents: NDArray[np.int64], stream: int, tick: int) -> NDArray[np.uint64]:
    """One word per agent, shape (agents,)."""
    out = np.empty(agents.size, np.uint64)
    for i in range(agents.size):
        out[i] = philox(seed, agents[i], stream, tick, 0)[0]
    return out


@njit(cache=True)
def uniform(seed: int, agents: NDArray[np.int64], stream: int, tick: int) -> NDArray[np.float64]:
    """One number in (0, 1) per agent, shape (agents,)."""
    out = np.empty(agents.size)
    for i in range(agents.size):
        out[i] = unit(philox(seed, agents[i], stream, tick, 0)[0])
    return out


@njit(cache=True, inline="always")
def gauss(first: np.uint64, second: np.uint64) -> float:
    """A standard normal number from two words (Box-Muller)."""
    return np.sqrt(-2.0 * log(unit(first))) * cosine_of_turn(unit(second))


@njit(cache=True)
def normal(seed: int, agents: NDArray[np.int64], stream: int, tick: int) -> NDArray[np.float64]:
    """One standard normal number per agent, shape (agents,)."""
    out = np.empty(agents.size)
    for i in range(agents.size):
        words = philox(seed, agents[i], stream, tick, 0)
        out[i] = gauss(words[0], words[1])
    return out


@njit(cache=True)
def normals(seed: int, agent: int, stream: int, tick: int, width: int) -> NDArray[np.float64]:
    """`width` standard normal numbers of one agent, shape (width,): two per block."""
    out = np.empty(width)
    for block in range((width + 1) // 2):
        words = philox(seed, agent, stream, tick, block)
        out[2 * block] = gauss(words[0], words[1])
        if 2 * block + 1 < width:
            out[2 * block + 1] = gauss(words[2], words[3])
    return out


@njit(cache=True)
def ticks_in_epoch(
    seed: int, agents: NDArray[np.int64], stream: int, epoch: int, epoch_ticks: int
) -> NDArray[np.int64]:
    """The tick at which each agent acts in an epoch, uniform over its ticks, so that no agent is always first."""
    out = np.empty(agents.size, np.int64)
    for i in range(agents.size):
        word = philox(seed, agents[i], stream, epoch, 0)[0]
        out[i] = epoch * epoch_ticks + np.int64(word % _U(epoch_ticks))
    return out
