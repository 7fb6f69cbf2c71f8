"""Few large files of the archive's many small ones: the service around `headrace.lake.compaction`."""
