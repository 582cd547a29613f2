"""The evidence in a few lines, for whoever only reads it: nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def list_lines(found: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """List a target's scores that matter most: majority, each modality alone, all, as given."""
    subsets = found["subsets"]
    complete = [(key.replace("+", " + "), one) for key, one in subsets.items() if "+" in key][-1:]
    return [
        (f"always {found['majority']['answer']!r}", found["majority"]),
        *((key, one) for key, one in subsets.items() if "+" not in key),
        *complete,
        ("rows as given", found["as_given"]),
    ]


def describe_cost(
    evidence: Mapping[str, Any], milliseconds: Mapping[str, float] | None = None
) -> list[str]:
    """Say in a line for each modality what leaving it out loses and saves.

    Args:
        evidence: Of a target: `headline`, and `cost` of `measure_cost`.
        milliseconds: What decoding and encoding a row takes, by modality, where it was timed:
            `row_ms` of `time_encoder`.
    """
    lines = []
    for name, one in evidence["cost"].items():
        ends = " to ".join(f"{100 * one[f'difference_{end}']:+.1f}" for end in ("low", "high"))
        interval = "one group" if one["groups"] == 1 else ends
        saved = [f"{one['megabytes']:.1f} MB"]
        if milliseconds and name in milliseconds:
            saved.insert(0, f"{milliseconds[name]:.1f} ms a row")
        metric = evidence["headline"].replace("_", " ")
        lines.append(
            f"without {name}: lose {100 * one['difference']:+.1f} points of {metric} ({interval}), "
            f"save {' and '.join(saved)}"
        )
    return lines
