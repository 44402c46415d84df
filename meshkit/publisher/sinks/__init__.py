"""Where events go: Kafka, Parquet, memory."""
