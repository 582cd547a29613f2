"""Looks for better parameters on validation rows, and proposes them.

An action, not a stage: it remembers its trials, and a person decides about what it proposes.
"""
