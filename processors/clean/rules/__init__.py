"""The rules that a contract puts on a reading: a file for each, listed in `order`. The seam is `rule.Rule`."""
