"""The readable end of a run: what came in, how good the model is, what to do next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mm_assets.contracts.config import Config, read_config
from mm_assets.contracts.report import StageReport, read_report
from mm_assets.contracts.workspace import Workspace
from mm_assets.evaluation.evidence import read_evidence
from mm_assets.evaluation.lines import describe_cost, list_lines

MOST_LINES, MOST_REASONS, MOST_FAILED = 60, 8, 4  # the card has everything
INDENT = " " * 11


def write_summary(workspace: Workspace) -> str:
    """Summarise the last run from its reports and `evidence.json`.

    Args:
        workspace: Of a project whose stages have all run.

    Returns:
        At most 60 lines, without a line break at the end.

    Raises:
        StageError: A stage has not run yet; says which.
        ConfigError: `params.yaml` is wrong.
    """
    config = read_config(workspace.params)
    evidence = read_evidence(workspace.evaluation, config)
    rows, end = _list_rows(workspace), _list_end(workspace, config)
    milliseconds = _read_milliseconds(workspace)
    scores: list[str] = []
    for place, (name, found) in enumerate(evidence.items()):
        block = ["", *_list_scores(name, found, confidence=config.evaluation.confidence)]
        if "cost" in found:
            block += [f"  {line}" for line in describe_cost(found, milliseconds)]
        if len(rows) + len(scores) + len(block) + len(end) + 2 > MOST_LINES:
            scores += ["", f"{INDENT}… {len(evidence) - place} more targets, see the card"]
            break
        scores += block
    return "\n".join([*rows, *scores, *end])


def _read_milliseconds(workspace: Workspace) -> dict[str, float]:
    """Read what decoding and encoding a row took, by modality, where evaluate ran here."""
    log = workspace.log("cost")
    if not log.is_file():
        return {}
    timed = json.loads(log.read_text(encoding="utf-8"))
    return {key: found["row_ms"] for key, found in timed.items()}


def _list_end(workspace: Workspace, config: Config) -> list[str]:
    card = workspace.card / "model_card.html"
    return [
        "",
        f"ONNX       {_describe_export(read_report(workspace.report('export')))}",
        *_list_checks(workspace),
        f"Card       {card.relative_to(workspace.root)}",
        "",
        "Next       make ui                           look at it in the Dagster web UI",
        f"{INDENT}{_suggest_prediction(config):<34}ask the exported model",
        f"{INDENT}edit params.yaml, then dvc repro  run only what depends on the change",
        f"{INDENT}mm promote                        put the model into use, if its gates hold",
    ]


def _suggest_prediction(config: Config) -> str:
    """Name a modality to ask with, a text where there is one."""
    texts = [key for key, modality in config.modalities.items() if modality.kind == "text"]
    return f'mm predict --{texts[0]} "..."' if texts else "mm predict --help"


def _list_rows(workspace: Workspace) -> list[str]:
    report = read_report(workspace.report("validate"))
    splits = read_report(workspace.report("augment")).metrics
    lost = report.rows_in - report.rows_out
    lines = [
        f"Rows       {report.rows_in} in, {report.rows_out} kept, {lost} quarantined "
        f"({lost / max(report.rows_in, 1):.1%})"
    ]
    table = report.find_table("reason")
    reasons = table.rows if table else ()
    lines += [f"{INDENT}{row[1]:>5}  {row[0]}, such as {row[2]}" for row in reasons[:MOST_REASONS]]
    if len(reasons) > MOST_REASONS:
        lines.append(f"{INDENT}    …  {len(reasons) - MOST_REASONS} further reasons, see the card")
    counts = ", ".join(f"{splits[f'{s}_rows']} {s}" for s in ("train", "validation", "test"))
    return [*lines, f"Splits     {counts}"]


def _list_scores(name: str, found: Mapping[str, Any], *, confidence: float) -> list[str]:
    metric = found["headline"]
    lines = list_lines(found)
    width = max(len(label) for label, _ in lines) + 2
    interval = f"{confidence:.0%} interval"
    title = f"{name}: {metric.replace('_', ' ')} on test rows"
    bounded = any("upper_bound" in scores for _, scores in lines)
    head = f"{'':{width}}{'rows':>6}{'':>9}{interval:>18}" + ("   best possible" if bounded else "")
    return [
        title,
        f"  {head}",
        *(
            f"  {label:{width}}{scores['rows']:>6}{scores[metric]:>9.1%}"
            + _show_interval(scores, metric)
            + (f"{scores['upper_bound']:>16.1%}" if "upper_bound" in scores else "")
            for label, scores in lines
        ),
    ]


def _show_interval(scores: Mapping[str, Any], metric: str) -> str:
    """Show an interval over groups; one group says nothing of how groups differ."""
    if scores["groups"] == 1:
        return f"{'one group':>18}"
    return f"{scores[f'{metric}_low']:>9.1%} -{scores[f'{metric}_high']:>7.1%}"


def _describe_export(report: StageReport) -> str:
    if "parity_max_difference" not in report.metrics:
        return "not exported (`export.enabled: false` in params.yaml)"
    return (
        f"largest difference from PyTorch {report.metrics['parity_max_difference']:.1e}; "
        f"{report.metrics['onnx_megabytes']} MB"
    )


def _list_checks(workspace: Workspace) -> list[str]:
    folder = workspace.report("validate").parent
    reports = [read_report(path) for path in sorted(folder.rglob("*.json"))]
    results = [(report.stage, r) for report in reports for s in report.suites for r in s.results]
    failed = [(stage, result) for stage, result in results if not result.success]
    if not failed:
        return [f"Checks     all {len(results)} expectations of {len(reports)} reports are met"]
    errors = sum(result.severity == "error" for _, result in failed)
    lines = [
        f"{INDENT}{result.severity}: {stage}, {result.column or result.expectation}: "
        f"{result.expected}; got {result.observed}"
        for stage, result in failed[:MOST_FAILED]
    ]
    head = f"{errors} failed, {len(failed) - errors} with a warning, of {len(results)} expectations"
    return [f"Checks     {head}", *lines]
