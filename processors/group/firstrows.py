"""The first rows of each function and schema: by these it is seen whether the function is row-wise."""

from collections import Counter

from headrace.transforms.table import Columns

_ROWS = 200  # of each function and schema


class FirstRows:
    """Which rows are still to be checked."""

    def __init__(self) -> None:
        self._checked: Counter[tuple[str, int]] = Counter()

    def of(self, digest: str, schema_id: int, columns: Columns) -> Columns | None:
        """Those rows of `columns` to check the function `digest` with; None if it was checked with enough of them."""
        if self._checked[digest, schema_id] >= _ROWS:
            return None
        return {name: values[:_ROWS] for name, values in columns.items()}

    def checked(self, digest: str, schema_id: int, rows: Columns) -> None:
        """Note that the function is row-wise as far as these rows tell."""
        self._checked[digest, schema_id] += len(next(iter(rows.values())))
