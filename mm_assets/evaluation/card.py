"""The model card: one self-contained page with all the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from mm_assets.contracts.config import Config
from mm_assets.contracts.report import ExpectationResult, StageReport
from mm_assets.evaluation.lines import list_lines
from mm_assets.validation.page import open_template

# Titles in the order of the page; `model_card/ID.html.j2` is what a section shows.
SECTIONS = {
    "results": "Results",
    "baselines": "Baselines",
    "absence": "Missing modalities",
    "shapley": "Worth",
    "cost": "Cost",
    "noise": "Noise",
    "calibration": "Calibration",
    "selective": "Abstention",
    "slices": "Slices",
    "errors": "Errors",
    "attribution": "Attribution",
    "label_errors": "Labels",
    "plots": "Plots",
    "data": "Data",
    "model": "Model",
    "onnx": "ONNX",
    "checks": "Checks",
    "provenance": "Provenance",
}
# How metrics are called; those that are no share of anything are written as numbers.
METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "weighted_f1": "weighted F1",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "exact_match": "exact match",
    "hamming_loss": "Hamming loss",
    "r2": "R²",
}
NUMBERS = {"brier": "Brier score", "log_loss": "log loss, nats", "mae": "MAE", "rmse": "RMSE"}


@dataclass(frozen=True)
class CardContents:
    """What the card shows.

    Attributes:
        config: Of `params.yaml`.
        evidence: As `read_evidence` returned it.
        errors: As `errors.json` holds it, by target.
        label_errors: As `label_errors.json` holds it, by target.
        attribution: As `attribution.json` holds it, by target.
        reports: By stage, in the order of the pipeline.
        encoders: By modality: name, version, dim, licence and source.
        signature: Of the exported model; null where it is not exported.
        pictures: By the path that a report gives, as data URIs.
        schemas: Schema version by kind of file.
        libraries: Version by library.
        params: The parameters that decide the result, as YAML.
    """

    config: Config
    evidence: Mapping[str, Any]
    errors: Mapping[str, Any]
    label_errors: Mapping[str, Any]
    attribution: Mapping[str, Any]
    reports: Mapping[str, StageReport]
    encoders: Mapping[str, Mapping[str, str | int]]
    signature: Mapping[str, Any] | None
    pictures: Mapping[str, str]
    schemas: Mapping[str, int | str]
    libraries: Mapping[str, str]
    params: str


def render_card(contents: CardContents) -> str:
    """Render the page; equal contents give equal text, and all data is escaped.

    Returns:
        HTML that loads nothing from elsewhere.
    """
    from markupsafe import Markup

    template = open_template(
        Path(__file__).parent / "model_card" / "page.html.j2",
        percent=_percent,
        points=_points,
        css_percent=_css_percent,
        html=Markup,  # of previews, whose data is escaped where they are made
    )
    page = template.render(
        c=contents,
        sections=SECTIONS,
        metrics_of=list_metrics,
        baseline_lines=list_baselines,
        lines={name: list_lines(found) for name, found in contents.evidence.items()},
        reasons=contents.reports["validate"].find_table("reason"),
        checks=_count_checks(contents.reports.values()),
    )
    return page + "\n"


def list_metrics(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """List a target's metrics as a person reads them: name, value and interval."""
    given, listed = found["as_given"], []
    for names, write in ((METRICS, _percent), (NUMBERS, "{:.3f}".format)):
        for key, name in names.items():
            if key in given:
                low, high = (write(given[f"{key}_{end}"]) for end in ("low", "high"))
                interval = "one group" if given["groups"] == 1 else f"{low} to {high}"
                listed.append((name, write(given[key]), interval))
    return listed


def list_baselines(judged: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """List who answered, the model last, with its numbers.

    Args:
        judged: `baselines` of a target's evidence.
    """
    return [
        ("majority answer", judged["majority"]),
        *((f"{name} alone", one) for name, one in judged["alone"].items()),
        ("linear model", judged["linear"]),
        ("fused model", judged["fused"]),
    ]


class PageParts(HTMLParser):
    """What a page consists of: ids of its sections, and everything that it loads.

    Attributes:
        sections: In their order.
        reports: Stages whose checks are shown.
        resources: Addresses of pictures, scripts, styles and frames.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.reports: list[str] = []
        self.resources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note sections, and what a tag loads; a link that a person follows loads nothing."""
        given = dict(attrs)
        if tag == "section":
            self.sections.append(given.get("id") or "")
        self.reports += [given["data-report"] or ""] if "data-report" in given else []
        loads = [given.get("src"), given.get("srcset"), given.get("data")]
        loads += [given.get("href")] if tag == "link" else []
        self.resources += [address for address in loads if address is not None]


def _count_checks(reports: Iterable[StageReport]) -> dict[str, int]:
    results: list[ExpectationResult] = [
        result for report in reports for suite in report.suites for result in suite.results
    ]
    failed = [result for result in results if not result.success]
    errors = sum(result.severity == "error" for result in failed)
    return {"all": len(results), "errors": errors, "warnings": len(failed) - errors}


def _percent(share: float, digits: int = 1) -> str:
    shown = round(100 * share, digits) + 0.0  # no minus before a zero
    return f"{shown:.{digits}f}\N{NO-BREAK SPACE}%"


def _points(difference: float) -> str:
    """Write a difference of two shares in points of 100, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def _css_percent(share: float) -> str:
    return f"{100 * min(max(share, 0), 1):.2f}%"
