"""How the names of streams and fields are written in SQL that is shown to a person."""

# Legal names that SQL wants in double quotes.
_WORDS = frozenset({
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "both", "case", "cast",
    "check", "collate", "column", "constraint", "create", "default", "deferrable", "desc", "describe",
    "distinct", "do", "else", "end", "except", "false", "fetch", "for", "foreign", "from", "grant", "group",
    "having", "in", "initially", "intersect", "into", "lambda", "lateral", "leading", "limit", "not", "null",
    "offset", "on", "only", "or", "order", "pivot", "placing", "primary", "qualify", "references", "returning",
    "select", "show", "some", "summarize", "symmetric", "table", "then", "to", "trailing", "true", "union",
    "unique", "unpivot", "using", "variadic", "when", "where", "window", "with",
})  # fmt: skip


def is_word(name: str) -> bool:
    """Whether `name`, which is legal in Avro, is a word of SQL, and so must be in double quotes."""
    return name.lower() in _WORDS


def quoted(path: str) -> str:
    """The name of a stream or a column as SQL takes it; of a group's inner field with dots, as in `motor.temp_c`."""
    return ".".join(f'"{name}"' if is_word(name) else name for name in path.split("."))
