"""The next state of a manifest: the one moment at which a merge counts."""

import secrets
from collections.abc import Container
from dataclasses import replace

from headrace.lake import manifest
from headrace.lake.compaction.plan import Merge
from headrace.lake.manifest import Merged, Retired, State
from headrace.store.base import ObjectStore


class Lost(Exception):  # noqa: N818 - an outcome
    """Another compactor wrote this state first. What was made for it counts for nothing, and is removed later."""


def commit(
    store: ObjectStore, before: State, merge: Merge, made: Merged, upto: int, gone: Container[str] = frozenset()
) -> State:
    """Write the state in which `made` stands for the files of `merge`. `gone`: retired files that were removed.

    Lost where another was faster. TransientError where it can't be known: what was read before is void then.
    """
    replaced = {i.key for i in merge.items if i.merged is not None}
    files = tuple(f for f in before.files if f.key not in replaced)
    kept = tuple(r for r in before.retired if r.key not in gone)
    retired = (*kept, *(Retired(key, made.made_at) for key in sorted(replaced)))
    return _write(store, replace(before, upto=upto, files=tuple(sorted((*files, made))), retired=retired))


def fenced(store: ObjectStore, before: State) -> State:
    """Write the same state under the next number: a merge that did not end can't end any more. Lost as above."""
    return _write(store, before)


def _write(store: ObjectStore, content: State) -> State:
    state = replace(content, number=content.number + 1, token=secrets.token_hex(8))
    data = manifest.to_json(state)
    # The look before and the look after are for stores without conditional writes: there they find most of what the
    # condition would, but not all. docs/lake.md asks for one compactor there.
    written = not store.exists(state.key)
    if written:
        store.put(state.key, data, if_absent=True)
        written = store.get(state.key) == data
    if not written:
        raise Lost(f"another compactor has written {state.key}; the next round goes on from there")
    return state
