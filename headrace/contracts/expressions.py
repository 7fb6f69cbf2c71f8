"""The language of rules across fields: `dew_point <= temperature + 0.5`. Parsed here, evaluated by clean in columns.

Names of fields, numbers, texts in quotes, True and False; + - * /; < <= > >= == !=; and, or, not; abs, min, max, sqrt,
exp, log; and the physical identities of `headrace.contracts.physics`. Python reads the text, and only what is named
here is taken from what it reads: nothing is ever run.
"""

import ast
import difflib
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from headrace.contracts.physics import IDENTITIES
from headrace.errors import ConfigError

MAX_TEXT = 500  # characters
MAX_DEPTH = 30
MAX_NODES = 500  # an identity counts with all that it stands for

Kind = Literal["number", "truth", "text"]


class Const(NamedTuple):
    """A number, a text, True or False."""

    value: float | str | bool


class Name(NamedTuple):
    """A field's value."""

    field: str


class Op(NamedTuple):
    """An operator or a function on what it stands between."""

    name: str
    args: tuple["Tree", ...]


Tree = Const | Name | Op


class Expression(NamedTuple):
    """A condition that should hold, and the fields it names, in order."""

    tree: Tree
    fields: tuple[str, ...]
    uses: tuple[tuple[str, str, str], ...]  # (identity, its argument, the field that is given for it)


_ARITHMETIC: dict[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARISONS: dict[type, str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_FUNCTIONS = {"abs": (1, 1), "min": (2, 9), "max": (2, 9), "sqrt": (1, 1), "exp": (1, 1), "log": (1, 1)}  # arguments
FUNCTIONS = (*_FUNCTIONS, *IDENTITIES)
_HINTS: dict[type, str] = {
    ast.Pow: "write x * x instead of x ** 2",
    ast.BitXor: "write x * x instead of x ^ 2",
    ast.BitAnd: "write `and`",
    ast.BitOr: "write `or`",
    ast.Attribute: "only a contract's own fields have values here: write their names alone",
    ast.Subscript: "arrays and records can't be used here",
}


def parse(text: str, kinds: Mapping[str, Kind | None]) -> Expression:
    """The condition in `text`. `kinds`: what each field of the contract holds; None for what can't be used.

    ConfigError, in words that can follow a place, for anything that is not of the language.
    """
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_TEXT:
        raise ConfigError(f"the expression must be text of 1 to {MAX_TEXT} characters, such as 'a <= b + 0.5'")
    reader = _Reader(kinds)
    try:
        tree, kind = reader.read(_python(text), 0)
    except RecursionError:
        raise ConfigError(f"{text!r:.80} is nested too deeply") from None
    if kind != "truth":
        raise ConfigError(f"{text!r:.80} is a {kind}, not a condition. Say what should hold, such as 'a <= b + 0.5'")
    if not reader.fields:
        raise ConfigError(f"{text!r:.80} names no field, so it is always the same. Name one of {_some(kinds)}")
    return Expression(tree, tuple(reader.fields), tuple(reader.uses))


def _python(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's own advice, such as on `1 is x`
            return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as e:
        raise ConfigError(f"{text!r:.80} can't be read at character {e.offset or 1}: {e.msg}") from None
    except (ValueError, MemoryError, RecursionError):
        raise ConfigError(
            f"{text!r:.80} can't be read: it is nested too deeply, or has characters of no text"
        ) from None


class _Reader:
    """Takes from Python's tree what is of the language, and says what kind each part is."""

    def __init__(self, kinds: Mapping[str, Kind | None]) -> None:
        self._kinds = kinds
        self._nodes = 0
        self.fields: dict[str, None] = {}  # as an ordered set
        self.uses: list[tuple[str, str, str]] = []

    def read(self, it: ast.expr, depth: int) -> tuple[Tree, Kind]:
        """The part and its kind."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise ConfigError(f"it is too long or too deep: at most {MAX_NODES} parts, {MAX_DEPTH} inside each other")
        match it:
            case ast.Constant():
                return _constant(it.value)
            case ast.Name():
                return self._name(it.id)
            case ast.UnaryOp(op=ast.Not()):
                return Op("not", (self._of(it.operand, "truth", depth, "not"),)), "truth"
            case ast.UnaryOp(op=ast.USub()):
                return Op("neg", (self._of(it.operand, "number", depth, "-"),)), "number"
            case ast.UnaryOp(op=ast.UAdd()):
                return self._of(it.operand, "number", depth, "+"), "number"
            case ast.BinOp() if type(it.op) in _ARITHMETIC:
                name = _ARITHMETIC[type(it.op)]
                return Op(name, tuple(self._of(a, "number", depth, name) for a in (it.left, it.right))), "number"
            case ast.BoolOp():
                name = "and" if isinstance(it.op, ast.And) else "or"
                return Op(name, tuple(self._of(a, "truth", depth, name) for a in it.values)), "truth"
            case ast.Compare():
                return self._compare(it, depth), "truth"
            case ast.Call():
                return self._call(it, depth), "number"
        hint = _HINTS.get(type(getattr(it, "op", it)), f"there are + - * /, comparisons, and, or, not, {_listed()}")
        raise ConfigError(f"{ast.unparse(it)[:60]!r} is not possible here; {hint}")

    def _of(self, it: ast.expr, kind: Kind, depth: int, name: str) -> Tree:
        tree, found = self.read(it, depth + 1)
        if found != kind:
            what = {"number": "numbers", "truth": "conditions", "text": "texts"}
            raise ConfigError(f"{name} is for {what[kind]}, but {ast.unparse(it)[:60]!r} is a {found}")
        return tree

    def _name(self, name: str) -> tuple[Tree, Kind]:
        kind = self._kinds.get(name)
        if name not in self._kinds:
            near = difflib.get_close_matches(name, [*self._kinds], n=1)
            raise ConfigError(f"the contract has no field {name!r:.60}; {_meant(near, self._kinds)}")
        if kind is None:
            raise ConfigError(f"the field {name} is neither a number, a time, a text, nor true or false")
        self.fields[name] = None
        return Name(name), kind

    def _compare(self, it: ast.Compare, depth: int) -> Tree:
        sides = [self.read(a, depth + 1) for a in (it.left, *it.comparators)]
        parts = []
        for i, op in enumerate(it.ops):
            (left, one), (right, other) = sides[i], sides[i + 1]
            name = _COMPARISONS.get(type(op))
            if name is None:
                raise ConfigError(
                    f"{ast.unparse(it)[:60]!r} is not possible here; there are {' '.join(_COMPARISONS.values())}"
                )
            if one != other:
                raise ConfigError(f"{ast.unparse(it)[:60]!r} compares a {one} with a {other}")
            if one != "number" and name not in {"==", "!="}:
                raise ConfigError(f"{ast.unparse(it)[:60]!r}: a {one} has no order. Use == or !=")
            parts.append(Op(name, (left, right)))
        return parts[0] if len(parts) == 1 else Op("and", tuple(parts))

    def _call(self, it: ast.Call, depth: int) -> Tree:
        name = it.func.id if isinstance(it.func, ast.Name) else ""
        if name not in FUNCTIONS or it.keywords:
            near = difflib.get_close_matches(name, FUNCTIONS, n=1)
            hint = f"did you mean {near[0]}?" if near and near[0] != name else f"there are {_listed()}"
            raise ConfigError(f"{ast.unparse(it)[:60]!r} is not possible here; {hint}")
        args = tuple(self._of(a, "number", depth, name) for a in it.args)
        if name in IDENTITIES:
            return self._identity(name, args, depth)
        least, most = _FUNCTIONS[name]
        if not least <= len(args) <= most:
            raise ConfigError(
                f"{name} takes {least if least == most else f'{least} to {most}'}, not {len(args)} arguments"
            )
        return Op(name, args)

    def _identity(self, name: str, args: tuple[Tree, ...], depth: int) -> Tree:
        it = IDENTITIES[name]
        if len(args) != len(it.arguments):
            raise ConfigError(f"{name} is written {it.signature}, with {len(it.arguments)} arguments, not {len(args)}")
        inside = _Reader(dict.fromkeys(it.arguments, "number"))
        inside._nodes = self._nodes
        tree, _ = inside.read(_python(it.formula), depth + 1)
        self._nodes = inside._nodes
        given = dict(zip(it.arguments, args, strict=True))
        self.uses += [(name, argument, arg.field) for argument, arg in given.items() if isinstance(arg, Name)]
        self._nodes += sum(_size(given[n.field]) for n in names(tree))
        if self._nodes > MAX_NODES:
            raise ConfigError(f"it is too long: at most {MAX_NODES} parts, with those that an identity stands for")
        return replaced(tree, lambda n: given[n.field])


def names(tree: Tree) -> list[Name]:
    """Each place where a field's value stands."""
    if isinstance(tree, Op):
        return [n for arg in tree.args for n in names(arg)]
    return [tree] if isinstance(tree, Name) else []


def replaced(tree: Tree, by: Callable[[Name], Tree]) -> Tree:
    """The tree with something else in each place where a field's value stands."""
    if isinstance(tree, Op):
        return Op(tree.name, tuple(replaced(arg, by) for arg in tree.args))
    return by(tree) if isinstance(tree, Name) else tree


def _size(tree: Tree) -> int:
    return 1 + sum(map(_size, tree.args)) if isinstance(tree, Op) else 1


def _constant(value: object) -> tuple[Tree, Kind]:
    match value:
        case bool():
            return Const(value), "truth"
        case str():
            return Const(value), "text"
        case int() | float():
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if math.isfinite(number):
                return Const(number), "number"
            raise ConfigError("a number in it is too large")
    raise ConfigError(f"{value!r:.60} is not possible here: write numbers, texts in quotes, True or False")


def _meant(near: list[str], kinds: Mapping[str, Kind | None]) -> str:
    return f"did you mean {near[0]}?" if near else f"it has {_some(kinds)}"


def _some(kinds: Mapping[str, Kind | None]) -> str:
    usable = [name for name, kind in kinds.items() if kind is not None]
    return ", ".join(usable[:10]) + (", ..." if len(usable) > 10 else "")


def _listed() -> str:
    return ", ".join(FUNCTIONS)
