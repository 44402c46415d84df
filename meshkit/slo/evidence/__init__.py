"""Ways to measure a port, cheapest first: publish reports, Parquet footers, a full scan, reads and probes."""
