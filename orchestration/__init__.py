"""The Dagster door: wiring, no computation."""
