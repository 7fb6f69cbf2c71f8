"""What the store knows of uploads, beside the files themselves (`evidence`). Every object is written once.

    _uploads/profiles/<digest>.json                 a profile, all options found
    _uploads/orders/<upload>.json                   the order: who ordered first
    _uploads/receipts/<upload>/<order>[.failed].json what became of an order, once its rows are in Kafka
    _uploads/retired/<upload>.json                  the rows of the upload do not count any more

An upload is known once its order is here; it is loaded once a receipt says so. An order that was lost on its way to
Kafka is given again: whoever loads looks for a receipt before the first row.
"""

import getpass
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import orjson

from headrace.errors import ConfigError
from headrace.store.base import ObjectStore
from headrace.uploads.order import Order
from headrace.uploads.profile import Profile

_FOLDER = "_uploads"
_PROFILES, _ORDERS, _RECEIPTS = f"{_FOLDER}/profiles", f"{_FOLDER}/orders", f"{_FOLDER}/receipts"
_RETIRED = f"{_FOLDER}/retired"
_FAILED = ".failed.json"  # how the name of a receipt ends that says why an order was not loaded to its end
_AT_ONCE = 16


class Receipt(NamedTuple):
    """What became of an order. `next_row`: the first row that was not dealt with; `failed`: why; empty: all were."""

    upload: str
    partition: int  # of the stream's topics
    next_row: int
    finished_at: int  # seconds since 1970 UTC
    failed: str = ""


class ReceiptName(NamedTuple):
    """What the name of a receipt says."""

    upload: str
    order: str
    failed: bool


class Desk:
    """Errors as the store raises them."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def keep_profile(self, profile: Profile) -> None:
        """Keep a profile under its digest."""
        self._store.put(
            f"{_PROFILES}/{profile.digest}.json", orjson.dumps(profile.model_dump(mode="json")), if_absent=True
        )

    def profile(self, digest: str) -> Profile:
        """A profile by its digest. FatalError where it is not there."""
        return Profile.model_validate(orjson.loads(self._store.get(f"{_PROFILES}/{digest}.json")))

    def claim(self, order: Order) -> Order:
        """The order of the upload: this one, or the one that was there before."""
        key = f"{_ORDERS}/{order.upload}.json"
        if self._store.put(key, orjson.dumps(order._asdict()), if_absent=True):
            return order
        found = self.order(order.upload)
        if (found.recording, found.file_table, found.stream) != (order.recording, order.file_table, order.stream):
            raise ConfigError(
                f"the id {order.upload} is that of another upload ({found.file}): two hashes begin alike. Change "
                "the profile a little, such as its `nothing`, and try again"
            )
        return found

    def order(self, upload: str) -> Order:
        """The order of an upload. FatalError where there is none."""
        return Order(**orjson.loads(self._store.get(f"{_ORDERS}/{upload}.json")))

    def known(self) -> set[str]:
        """All uploads, loaded or not."""
        return {_name(it.key) for it in self._store.list(f"{_ORDERS}/")}

    def retired(self) -> set[str]:
        """Those that do not count any more."""
        return {_name(it.key) for it in self._store.list(f"{_RETIRED}/")}

    def receipt_names(self) -> set[ReceiptName]:
        """Of all receipts."""
        found = (it.key.split("/")[-2:] for it in self._store.list(f"{_RECEIPTS}/"))
        return {ReceiptName(upload, order, order.endswith(_FAILED)) for upload, order in found}

    def loaded(self) -> set[str]:
        """The uploads whose rows are all in Kafka."""
        return {it.upload for it in self.receipt_names() if not it.failed}

    def orders(self, uploads: set[str]) -> list[Order]:
        """The orders of uploads, oldest first."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="orders") as pool:
            return sorted(pool.map(self.order, uploads), key=lambda it: (it.event_time, it.upload))

    def receipts(self, upload: str) -> list[Receipt]:
        """The receipts of an upload."""
        return [Receipt(**orjson.loads(self._store.get(it.key))) for it in self._store.list(f"{_RECEIPTS}/{upload}/")]

    def settle(self, order: str, receipt: Receipt) -> None:
        """Keep the receipt of an order, which is called `order` in the log. The first one stays."""
        key = f"{_RECEIPTS}/{receipt.upload}/{order}{_FAILED if receipt.failed else '.json'}"
        self._store.put(key, orjson.dumps(receipt._asdict()), if_absent=True)

    def retire(self, upload: str, reason: str) -> bool:
        """Let the rows of an upload count no more. False where they do not already."""
        said = {"upload": upload, "reason": reason, "actor": actor(), "at": int(time.time())}
        return self._store.put(f"{_RETIRED}/{upload}.json", orjson.dumps(said), if_absent=True)

    def restore(self, upload: str) -> None:
        """Let the rows of an upload count again."""
        self._store.delete(f"{_RETIRED}/{upload}.json")


def actor() -> str:
    """Who works here: user and machine."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def _name(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")


def complete(receipts: list[Receipt]) -> Receipt | None:
    """The receipt that says that all rows are in Kafka; None without one."""
    return next((it for it in receipts if not it.failed), None)


def first_row(receipts: list[Receipt]) -> int:
    """The first row that no order has dealt with."""
    return max((it.next_row for it in receipts), default=0)
