"""The rules of trading that interventions leave: price bands and circuit breakers of the listed instruments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agents.interventions import TRADING, Change
from economy.errors import InputError
from economy.instruments import Instrument
from economy.records.events import InstrumentClass


def named(change: Change, listed: Sequence[Instrument]) -> list[Instrument]:
    """Instruments that a change names: one by its symbol, or all shares. Raises InputError for what is not listed."""
    every = change.name == "shares"
    found = [i for i in listed if i.symbol == change.name or (every and i.instrument_class == InstrumentClass.EQUITY)]
    if not found:
        said = f"name one of {', '.join(i.symbol for i in listed)}, or shares for all shares"
        raise InputError("intervention", f"{change.kind}.{change.name}", said)
    return found


def protected(listed: Sequence[Instrument], changes: Sequence[Change], epoch_ticks: int) -> list[Instrument]:
    """The instruments under the changes, in order. A width that is lifted is again the one that was listed; a halt
    is as long as the scenario has it, or an epoch."""
    found = {i.instrument: i for i in listed}
    for change in changes:
        for was in named(change, listed) if change.kind in TRADING else ():
            now = found[was.instrument]
            width = None if change.value is None else round(change.value * 10_000)
            if change.kind == "band":
                now = replace(now, band_bp=was.band_bp if width is None else width)
            else:
                halt = was.halt_ticks or (epoch_ticks if width else 0)
                now = replace(now, breaker_bp=was.breaker_bp if width is None else width, halt_ticks=halt)
            found[was.instrument] = now
    return list(found.values())
