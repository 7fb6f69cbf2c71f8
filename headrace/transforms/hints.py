"""What to do about the errors that transforms raise most."""

# What the error's last line holds, and the hint.
HINTS = (
    ("KeyError", "the table has the contract's fields, and no others; `headrace tail STREAM` shows them"),
    ("NoneType", "a value may be missing: test with `df.x.isna()`, or give it a value with `fillna`"),
    ("NAType", "a value may be missing: test with `df.x.isna()`, or give it a value with `fillna`"),
    ("boolean value of NA", "a value may be missing: test with `df.x.isna()`, or give it a value with `fillna`"),
    ("cannot convert float NaN", "a value may be missing: test with `df.x.isna()`, or give it a value with `fillna`"),
    ("truth value of a Series", "`if` and `and` are for one value: use `df.loc[condition, 'x'] = ...`, with & and |"),
    ("read-only", "a list must not be changed in place: make a new one, `df['x'] = [a * 2 for a in df.x]`"),
    ("ZeroDivisionError", "guard the division: `df.x / df.y.where(df.y != 0)` gives no value instead"),
    ("ModuleNotFoundError", "install that package where clean runs"),
    ("ImportError", "install that package where clean runs"),
)


def hint(message: str) -> str:
    """What to do about a failure; empty where nothing more is known than the message says."""
    return next((text for part, text in HINTS if part in message), "")
