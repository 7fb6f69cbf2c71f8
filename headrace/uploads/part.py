"""What one part of a profile makes of a batch of rows."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.errors import PoisonError, Reason
from headrace.readers.base import Batch

Bools = npt.NDArray[np.bool_]
Tell = Callable[[int], PoisonError]


class Part(NamedTuple):
    """Values by row; the rows that have none though they must, and what to say of such a row."""

    values: Any  # an Arrow array, or NumPy's
    wrong: Bools
    tell: Tell
    sentinel: Bools | None = None  # rows of which a sentinel of the contract was made null


Make = Callable[[Batch], Part]  # called with batches in the file's order


def missing(field: str) -> Tell:
    """What to say of rows without a value of the field."""
    return lambda _: PoisonError(Reason.MISSING_FIELD, f"{field}: the row has no value", field=field)


def none(rows: int) -> Bools:
    """No row is wrong."""
    return np.zeros(rows, np.bool_)
