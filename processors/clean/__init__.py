"""`<stream>.raw` to `<stream>.clean`: readings checked by their contracts, each once, in order, with its source."""
