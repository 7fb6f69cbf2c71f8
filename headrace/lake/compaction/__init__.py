"""Compaction: many small files of the lake become few large ones. docs/decisions/compaction.md says how and why."""

from headrace.lake.compaction.make import no_room
from headrace.lake.compaction.report import Report, Topic
from headrace.lake.compaction.round import compact

__all__ = ["Report", "Topic", "compact", "no_room"]
