"""Configuration, errors and shared types. Imports nothing heavy."""
