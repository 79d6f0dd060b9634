"""Layout of the order book's arrays, and the compiler settings of the functions that work on them.

All books of one worker share flat arrays; links are uint32 slots, 0 = none. The arrays, in the order in which the
functions take them:
  G    int64   counters of the pools, see below
  H    int64   24 words per instrument: its own cache line, that of its bids, that of its asks
  H32 is the same as uint32
  L    int64   4 words per price level
  L32 the same as uint32
  O    int64   8 words per resting order
  O32 the same as uint32
  NK, NV, NC   keys, values and counts of the nodes of the trees that index the levels
  T    int64   open-addressing map from (instrument, agent, order id) to the slot of a resting order
  P    int64   scratch, 80 words: the path from the root of a tree to a leaf, then the slots of prefetching
Bids are keyed by ~price and asks by price, so on both sides the smallest key is best and one code path serves both.

Op row, 8 int64: code, instrument, order id, agent, price, quantity, tick, expiry (MAX = none). A negative code is
minus a refusal that was decided before; otherwise code = kind | side << 2 (0 buy) | time in force << 3 |
post-only << 5 | used id << 6 | tag << 8. The price of a market buy is its cash cap in price x quantity, 0 = none.
Event row, 8 int64, with code = event kind | reason << 8 | taker's (or own) side << 16, reasons being RejectReason or
CloseReason plus one; the op row is the one that made the book look
  TRADE       code, op row, seq, price, quantity, maker order, maker agent, maker's tag
  REJECT      code, op row, seq, price, quantity, order, agent, 0
  CLOSE       code, op row, seq, price, quantity, order, agent, expiry; with STOOD in the code: tick instead of expiry
  HALT        code, op row, seq, price that would have printed, last tick of the call, order, agent, 0
  CALL_TRADE  as TRADE, of the auction that ends a call, each followed by
  CALL_TAKER  code, op row, tick, maker's limit, taker's limit, taker order, taker agent, taker's tag
  RESUME      code, op row, seq, price or 0, quantity, 0, 0, tick
  BAND        code, op row, seq, lowest price, highest price, 0, 0, tick
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from economy.records.events import CloseReason, RejectReason

MAX = np.iinfo(np.int64).max
MIN = np.iinfo(np.int64).min
LIMIT, MARKET, CANCEL, CLOCK = 0, 1, 2, 3
TRADE, REJECT, CLOSE, HALT, CALL_TRADE, CALL_TAKER, RESUME, BAND = 1, 2, 3, 4, 5, 6, 7, 8
STOOD = 1 << 17  # of a close: the end of a call withdrew an order from the book
OPEN_END = MAX - 1  # last tick of a call that only `resume` ends; MAX = trading is continuous
USED_ID = 64  # the id is not above all earlier ones of its agent, see ids.py
TAG_BITS = 20  # the buyer's use and tax rate, kept below the arrival number of a resting order
TAG = (1 << TAG_BITS) - 1
MALFORMED = int(RejectReason.MALFORMED) + 1
UNKNOWN_INSTRUMENT = int(RejectReason.UNKNOWN_INSTRUMENT) + 1
HALTED = int(RejectReason.HALTED) + 1
PRICE_OUT_OF_RANGE = int(RejectReason.PRICE_OUT_OF_RANGE) + 1
QUANTITY_OUT_OF_RANGE = int(RejectReason.QUANTITY_OUT_OF_RANGE) + 1
NOTIONAL_OVERFLOW = int(RejectReason.NOTIONAL_OVERFLOW) + 1
DUPLICATE_ORDER = int(RejectReason.DUPLICATE_ORDER) + 1
ORDER_ID_REUSED = int(RejectReason.ORDER_ID_REUSED) + 1
OUTSIDE_PRICE_BAND = int(RejectReason.OUTSIDE_PRICE_BAND) + 1
UNKNOWN_ORDER = int(RejectReason.UNKNOWN_ORDER) + 1
POST_ONLY_WOULD_CROSS = int(RejectReason.POST_ONLY_WOULD_CROSS) + 1
ALREADY_EXPIRED = int(RejectReason.ALREADY_EXPIRED) + 1
CANCELLED = int(CloseReason.CANCELLED) + 1
EXPIRED = int(CloseReason.EXPIRED) + 1
UNFILLED = int(CloseReason.UNFILLED) + 1
SELF_TRADE = int(CloseReason.SELF_TRADE) + 1

K = 16  # keys per tree node: 16, 32 and 64 were measured, 16 won
FAR = 8192  # resting orders from which prefetching pays
STEP = 4  # ops between two stages of prefetching, see ahead.py
PF = 12  # prefetch distance in ops where there is one stage
GUESS = 64  # first of the 16 words of P that prefetching uses
HW = 24  # int64 words per instrument: own line, bid line, ask line
# Instrument line, int64: 0 seq, 1 next expiry, 2 now, 3 last tick of the call (MAX = none), 5 arrivals, 6 lowest and
#   7 highest limit that is accepted. uint32: 8 root of the expiry heap.
# Side line, int64: 0 best key, 1 total quantity, 5 smallest and 6 largest key at which a trade may print, 7 of the bids:
#   length of a halt, of the asks: reference price. uint32: 4 best level, 5 best leaf, 6 root, 7 height, 8 orders, 9 levels.
# Order, int64: 0 id, 1 agent, 2 quantity, 3 expiry, 4 arrival << TAG_BITS | tag. uint32: 10 level, 11 next,
#   12 previous, 13 child, 14 sibling, 15 previous in the heap.
# Level, int64: 0 key, 1 quantity. uint32: 4 head, 5 tail, 6 orders, 7 side index (2 * instrument + side).
# G, int64: 0 free order, 1 orders ever used, 2 free level, 3 levels ever used, 4 free node, 5 nodes ever used,
#   6 mask of the map, 7 seed of the map, 8 resting orders, 9 live levels, 10 live nodes, 11 instrument + 1 whose call
#   must end before the next op, 0 = none.

u = np.uint64  # unsigned index: no wrap-around code, and loops vectorise
# Without reference counting (the functions allocate nothing) an op takes less than half the time. A private option of
# numba, hence its pinned version and a test that the machine code counts no references.
hot: Any = njit(cache=True, error_model="numpy", nogil=True, _nrt=False, forceinline=True)
jit: Any = njit(cache=True, error_model="numpy", nogil=True, _nrt=False)


@intrinsic
def prefetch(typingctx, arr, idx):
    sig = types.void(arr, idx)

    def codegen(context, builder, signature, args):
        a = context.make_array(signature.args[0])(context, builder, args[0])
        p = builder.bitcast(builder.gep(a.data, [args[1]]), ir.IntType(8).as_pointer())
        i32 = ir.IntType(32)
        signature_ = ir.FunctionType(ir.VoidType(), [p.type, i32, i32, i32])
        fn = builder.module.declare_intrinsic("llvm.prefetch", [p.type], signature_)
        builder.call(fn, [p, i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return sig, codegen
