"""The sample table, splits, the embedding store and atomic files."""
