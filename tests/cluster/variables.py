"""Variables of a compose file: `${NAME:-default}` and its kin, and the file `.env` that gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS: Final = (":-", ":?", ":+", "-", "?", "+")


class ComposeError(Exception):
    """A compose file that this reader does not accept, or a variable that it needs."""


def parse_env_file(text: str) -> dict[str, str]:
    """NAME=value by line; comments, `export` and one pair of quotes around a value are known. Raises ComposeError."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip().removeprefix("export ")
        if not stripped or stripped.startswith("#"):
            continue
        name, separator, value = stripped.partition("=")
        if not separator or not _NAME.fullmatch(name.strip()):
            raise ComposeError(f".env, line {number}: {line!r} is not NAME=value")
        value = value.strip()
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        found[name.strip()] = value[1:-1] if quoted else value.partition(" #")[0].rstrip()
    return found


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """The text with its variables filled in; `$$` is a dollar. Raises ComposeError where a required one is missing."""
    out, at = [], 0
    while (dollar := text.find("$", at)) >= 0:
        out.append(text[at:dollar])
        rest = text[dollar + 1 :]
        if rest.startswith("$"):
            out.append("$")
            at = dollar + 2
        elif rest.startswith("{"):
            end = _closing(text, dollar + 1)
            out.append(_value(text[dollar + 2 : end], variables))
            at = end + 1
        elif match := _NAME.match(rest):
            out.append(variables.get(match.group(), ""))
            at = dollar + 1 + match.end()
        else:
            raise ComposeError(f"{text!r}: a dollar that begins no variable is written $$")
    return "".join([*out, text[at:]])


def interpolate_all(value: Any, variables: Mapping[str, str]) -> Any:
    """Every text below `value`, keys left as they are."""
    if isinstance(value, str):
        return interpolate(value, variables)
    if isinstance(value, dict):
        return {key: interpolate_all(below, variables) for key, below in value.items()}
    if isinstance(value, list):
        return [interpolate_all(below, variables) for below in value]
    return value


def _closing(text: str, opening: int) -> int:
    depth = 0
    for at in range(opening, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return at
    raise ComposeError(f"{text!r}: a brace is not closed")


def _value(inside: str, variables: Mapping[str, str]) -> str:
    match = _NAME.match(inside)
    if match is None:
        raise ComposeError(f"${{{inside}}}: no name of a variable")
    name, rest = match.group(), inside[match.end() :]
    operator = next((each for each in _OPERATORS if rest.startswith(each)), "")
    if rest and not operator:
        raise ComposeError(f"${{{inside}}}: {rest!r} is no operator")
    word = rest[len(operator) :]
    given = variables.get(name)
    there = bool(given) if operator.startswith(":") else given is not None
    match operator[-1:]:
        case "+":
            return interpolate(word, variables) if there else ""
        case "?" if not there:
            raise ComposeError(f"{name} is required: {interpolate(word, variables)}")
        case "-" if not there:
            return interpolate(word, variables)
    return given or ""
