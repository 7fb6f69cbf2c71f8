"""How the objects of the store are encrypted, asked with a bar: for `verify --encryption` and `archive encrypt`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

    from headrace.config.connect import Store
    from headrace.lake.encryption import Report
    from headrace.store.base import Encrypting, ObjectStore


def look(bar: "Progress", store: "ObjectStore", asked: "Encrypting", config: "Store") -> "Report":
    """What `asked`, the store itself, tells of each object."""
    from headrace.lake import encryption

    task = bar.add_task(f"objects of {config.bucket}", total=None, count=0)
    keys = [o.key for o in store.list("")]
    bar.update(task, total=len(keys), count=len(keys))
    return encryption.check(asked, keys, lambda n: bar.advance(task, n))
