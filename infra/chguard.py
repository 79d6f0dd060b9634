"""What a client may ask of the embedded ClickHouse: one statement, of a known kind, that stays inside its tables.

The engine runs with our rights. So a statement is read into tokens first and refused when it could reach a file, the
network or another program. Comments are cut out, so that what was checked is what is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from economy.errors import EscapeError

_LEXER: Final = re.compile(
    r"""(?P<space>\s+)
      | (?P<comment>--[^\n]*|/\*.*?\*/)
      | (?P<string>'(?:[^'\\]|\\.|'')*')
      | (?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<number>[0-9][A-Za-z0-9_]*)
      | (?P<symbol>[!%&()*+,\-./:;<=>?@\[\]^{|}~])""",
    re.VERBOSE | re.DOTALL,
)
_READ: Final = frozenset({"select", "with", "show", "describe", "desc", "exists", "explain"})
_WRITE: Final = frozenset(
    {"insert", "create", "drop", "alter", "optimize", "truncate", "rename", "exchange", "delete", "update", "check"}
)
_OBJECTS: Final = frozenset({"table", "view", "materialized", "database"})  # what CREATE, ALTER and DROP may name
_FILLERS: Final = frozenset({"or", "replace"})
_TABLE_FUNCTIONS: Final = frozenset(
    {"format", "generaterandom", "generateseries", "generate_series", "input", "null", "numbers", "numbers_mt"}
    | {"primes", "sqlstandardvalues", "values", "view", "zeros", "zeros_mt"}
)
# Ordinary functions that read files, call services or look into other databases, and `disk` of table settings.
_FUNCTIONS: Final = frozenset(
    {"file", "getclienthttpheader", "catboostevaluate", "reversednsquery", "disk", "joinget", "joingetornull"}
    | {"aigenerate", "aiclassify", "aiembed", "aiextract", "aifilter", "airedact", "aisimilarity", "aitranslate"}
)
_ENGINES: Final = frozenset(
    {"mergetree", "replacingmergetree", "summingmergetree", "aggregatingmergetree", "collapsingmergetree"}
    | {"versionedcollapsingmergetree", "coalescingmergetree", "memory", "null", "view", "materializedview", "atomic"}
)


class RefusedError(EscapeError):
    """A statement that the embedded ClickHouse does not run. `code` is ClickHouse's number of the error."""

    def __init__(self, message: str, code: int = 497) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Statement:
    """A checked statement without comments, its first word in lower case, and the format that it asks for."""

    text: str
    verb: str
    format: str | None

    @property
    def reads(self) -> bool:
        return self.verb in _READ

    @property
    def bare(self) -> str:
        """The statement without its FORMAT, as it may stand in another one."""
        return re.sub(r"\s+FORMAT\s+\w+$", "", self.text, flags=re.IGNORECASE) if self.format else self.text


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str

    @property
    def name(self) -> str:
        """The identifier in lower case, quotes removed; empty for what is none."""
        if self.kind == "quoted":
            return re.sub(r"\\(.)|``|\"\"", lambda m: m.group(1) or m.group(0)[0], self.text[1:-1]).lower()
        return self.text.lower() if self.kind == "word" else ""


def _tokens(sql: str) -> tuple[str, list[_Token]]:
    """The statement without comments, and its tokens. Raises RefusedError for what the lexer does not know."""
    kept: list[str] = []
    tokens: list[_Token] = []
    at = 0
    while at < len(sql):
        match = _LEXER.match(sql, at)
        if match is None:
            raise RefusedError(f"syntax near {sql[at : at + 20]!r} is not accepted", 62)
        kind, text = match.lastgroup or "", match.group()
        kept.append(" " if kind == "comment" else text)
        if kind not in ("space", "comment"):
            tokens.append(_Token(kind, text))
        at = match.end()
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    return "".join(kept).rstrip().rstrip(";").rstrip(), tokens


class Guard:
    """Checks statements against the engine's own lists of table functions and engines, less those that are allowed."""

    def __init__(self, table_functions: Iterable[str], engines: Iterable[str]) -> None:
        self._functions = ({name.lower() for name in table_functions} - _TABLE_FUNCTIONS) | _FUNCTIONS
        self._engines = {name.lower() for name in engines} - _ENGINES

    def check(self, sql: str, read_only: bool) -> Statement:
        """The statement when it may run; raises RefusedError with the reason otherwise."""
        text, tokens = _tokens(sql)
        if any(token.text == ";" for token in tokens):
            raise RefusedError("only one statement per request is accepted", 62)
        verb = next((token.name for token in tokens if token.text != "("), "")
        if verb not in _READ | _WRITE:
            raise RefusedError(f"statement {verb.upper() or '(empty)'} is not accepted by the embedded server", 62)
        if read_only and verb not in _READ:
            raise RefusedError(f"Cannot execute {verb.upper()} in readonly mode", 164)
        names = [token.name for token in tokens]
        follows = [*(token.text for token in tokens[1:]), ""]
        rules: tuple[Callable[[], None], ...] = (
            lambda: self._no_foreign_function(names, follows),
            lambda: self._no_files(names, follows),
            lambda: self._known_object(verb, names),
            lambda: self._own_engine(verb, tokens, names),
        )
        for rule in rules:
            rule()
        wanted = tokens[-1].text if len(names) > 1 and names[-2] == "format" else None
        return Statement(text, verb, wanted)

    def _no_foreign_function(self, names: list[str], follows: list[str]) -> None:
        for name, following in zip(names, follows, strict=True):
            if following == "(" and name in self._functions:
                raise RefusedError(f"function {name} is not allowed in the embedded server")

    def _no_files(self, names: list[str], follows: list[str]) -> None:
        for name, following in zip(names, follows, strict=True):
            if (name, following.lower()) in (("into", "outfile"), ("from", "infile")):
                raise RefusedError(f"{name.upper()} {following.upper()} is not allowed in the embedded server")
            if name == "default" and following == ".":  # the engine resolves unknown tables of it as files
                raise RefusedError("database default is closed: name another database")

    def _known_object(self, verb: str, names: list[str]) -> None:
        if verb not in ("create", "alter", "drop", "rename", "exchange", "truncate"):
            return
        wanted = next((name for name in names[1:] if name not in _FILLERS), "")
        if verb in ("create", "alter", "drop") and wanted not in _OBJECTS:
            raise RefusedError(f"{verb.upper()} {wanted.upper()} is not allowed in the embedded server")
        if wanted == "database" and {"default", "system", "information_schema"} & set(names):
            raise RefusedError(f"{verb.upper()} DATABASE of the engine's own databases is not allowed")
        if "dictionary" in names[1:3]:
            raise RefusedError("dictionaries are not allowed in the embedded server")

    def _own_engine(self, verb: str, tokens: list[_Token], names: list[str]) -> None:
        if verb not in ("create", "alter"):
            return
        for position, name in enumerate(names):
            if name != "engine":
                continue
            rest = position + 1
            if rest < len(tokens) and tokens[rest].text == "=":
                rest += 1
            if rest < len(names) and names[rest] in self._engines:
                raise RefusedError(f"engine {tokens[rest].text} is not allowed in the embedded server")
