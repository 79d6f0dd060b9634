"""Types of GraphQL that are rows of a table: a field names its column, and a column that nobody asked for is not read.

ClickHouse keeps every column in a file of its own: a few rows cost about as much as they have columns.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import itemgetter
from typing import Any, ClassVar, Final, Self, get_type_hints

import strawberry
from strawberry.utils.str_converters import to_camel_case

from economy.numbers.decimals import exact
from economy.scales import Scales

Row = Mapping[str, Any]
Asked = Mapping[str, AbstractSet[str]]  # names of the fields that a request asks for, by type

_COLUMN: Final = "column"
_FOR: Final = "for"
_SCALE: Final = "scale"
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ALWAYS: Final = ("*",)  # whatever is asked: keys


def column(description: str, source: str | tuple[str, ...] = "", *, also_for: Sequence[str] = ()) -> Any:
    """A field that is read from the column of its name, from another column or expression, or from several as a list.

    `also_for` names the resolvers that need it too, or is ALWAYS.
    """
    return strawberry.field(description=description, metadata={_COLUMN: source, _FOR: also_for})


@dataclasses.dataclass(frozen=True)
class ByListing:
    """A scale that the run's listings tell of a row."""

    of: Callable[[Scales, Row], int]


def decimal(
    description: str, scale: int | Callable[[Row], int] | ByListing, source: str = "", *, also_for: Sequence[str] = ()
) -> Any:
    """A field that gives the integer of its column as an exact decimal; `scale` may depend on the row."""
    return strawberry.field(description=description, metadata={_COLUMN: source, _FOR: also_for, _SCALE: scale})


def link(source: str = "", *, also_for: Sequence[str] = ALWAYS) -> Any:
    """A private attribute that resolvers need: the column of its name, or another."""
    return dataclasses.field(metadata={_COLUMN: source, _FOR: also_for})


@dataclasses.dataclass(frozen=True)
class _Column:
    keys: tuple[str, ...]  # under which it stands in a row
    sql: str
    read: Callable[[Any], Any]  # from the value of its key, or the values of its keys
    asked: frozenset[str]  # names of the fields in GraphQL that need it; none: always read
    scale: int | Callable[[Row], int] | ByListing | None = None  # of a decimal

    def get(self) -> Callable[[Record], Any]:
        """How a record gives it."""
        found, read = itemgetter(*self.keys), self.read
        places = None if self.scale is None else _places(self.scale)

        def get(record: Record) -> Any:
            try:
                value = read(found(record._row))
                return value if places is None else exact(value, places(record))
            except KeyError as error:
                raise AttributeError(f"{error} was not read") from error

        return get


def _places(scale: int | Callable[[Row], int] | ByListing) -> Callable[[Record], int]:
    """How the decimals of a record's column are found."""
    if isinstance(scale, int):
        return lambda _: scale
    if not isinstance(scale, ByListing):
        return lambda record: scale(record._row)

    def listed(record: Record) -> int:
        if record._scales is None:
            raise AttributeError("the listings were not read")
        return scale.of(record._scales, record._row)

    return listed


class Record:
    """Base of such types. Their fields are `column`s and `link`s, all of one table; KEYS tell a run's records apart."""

    TABLE: ClassVar[str]
    KEYS: ClassVar[tuple[str, ...]]
    _row: Row
    _scales: Scales | None  # of the record's run, where `listed` says that they are needed

    @classmethod
    def select(cls, asked: Asked | None = None) -> str:
        """What to SELECT for a request that asks for these fields; None = all columns."""
        fields = None if asked is None else asked.get(cls.__name__, frozenset())
        columns = _columns(cls).values()
        wanted = (c.sql for c in columns if fields is None or not c.asked or not c.asked.isdisjoint(fields))
        return ", ".join(dict.fromkeys(wanted))  # a decimal and its integer are one column

    @classmethod
    def listed(cls, asked: Asked | None = None) -> bool:
        """Whether a request that asks for these fields needs the run's listings; None = all fields."""
        fields = None if asked is None else asked.get(cls.__name__, frozenset())
        columns = (c for c in _columns(cls).values() if isinstance(c.scale, ByListing))
        return any(fields is None or not c.asked.isdisjoint(fields) for c in columns)

    @classmethod
    def of(cls, row: Row, scales: Scales | None = None) -> Self:
        """From a row that `select` gave, or of all columns with texts for enums."""
        made = object.__new__(cls)
        made._row, made._scales = row, scales
        return made

    def __getattr__(self, name: str) -> Any:
        """What was not selected is an error, not a zero. The first field that is read makes all of them properties."""
        kind = type(self)
        if name not in _columns(kind) or hasattr(kind, name):
            raise AttributeError(f"{kind.__name__}.{name} was not read")
        for field, column in _columns(kind).items():
            setattr(kind, field, property(column.get()))
        return getattr(self, name)


_KNOWN: Final[dict[type[Record], dict[str, _Column]]] = {}


def _columns(of: type[Record]) -> dict[str, _Column]:
    """The columns of a type by attribute."""
    known = _KNOWN.get(of)
    if known is None:
        kinds = get_type_hints(of)
        assert dataclasses.is_dataclass(of)
        known = {f.name: _column(f, kinds[f.name]) for f in dataclasses.fields(of) if _COLUMN in f.metadata}
        _KNOWN[of] = known
    return known


def _column(field: dataclasses.Field[Any], kind: Any) -> _Column:
    source = field.metadata[_COLUMN] or field.name
    needed = field.metadata[_FOR]
    asked = frozenset() if needed == ALWAYS else frozenset(map(to_camel_case, (field.name, *needed)))
    if isinstance(source, tuple):
        return _Column(source, ", ".join(f"`{name}`" for name in source), _integers, asked)
    plain = _WORD.fullmatch(source) is not None
    key = source if plain else field.name
    quoted = f"`{source}`" if plain else source
    if _SCALE in field.metadata:
        return _Column((key,), quoted, int, asked, field.metadata[_SCALE])
    if kind is str:
        return _Column((key,), f"toString({quoted}) AS `{key}`", str, asked)
    return _Column((key,), quoted if plain else f"{quoted} AS `{key}`", bool if kind is bool else int, asked)


def _integers(values: Sequence[Any]) -> list[int]:
    return [int(value) for value in values]
