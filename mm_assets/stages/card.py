"""Stage `card`: one self-contained page with all the evidence."""

from __future__ import annotations

import io
import json
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from mm_assets.contracts.config import SCHEMA_VERSION
from mm_assets.contracts.report import REPORT_VERSION, StageReport, Table, read_report
from mm_assets.data.atomic import atomic_folder, write_text
from mm_assets.evaluation.card import SECTIONS, CardContents, PageParts, render_card
from mm_assets.evaluation.evidence import read_by_target, read_evidence
from mm_assets.validation.card import check_card
from mm_assets.validation.previews import embed_picture

if TYPE_CHECKING:
    from mm_assets.stages.project import Project

# Of the libraries that decide what data, vectors, weights and answers are.
LIBRARIES = (
    "av", "great-expectations", "mm-assets", "numpy", "onnx", "onnxscript", "pandas", "pillow",
    "pyarrow", "scikit-learn", "timm", "tokenizers", "torch", "torchaudio", "transformers",
)  # fmt: skip
# Sections of params.yaml that say when, where and how strictly, not what is made.
NOT_DECIDING = {"alerts", "schedule", "compute", "gates", "promotion"}


def card(project: Project) -> StageReport:
    """Write `artifacts/card/model_card.html`.

    Raises:
        StageError: A stage before has not run.
    """
    contents = gather_contents(project)
    page = render_card(contents)
    with atomic_folder(project.workspace.card) as folder:
        write_text(folder / "model_card.html", page)
    parts = PageParts(page)
    suite = check_card(
        parts.sections,
        parts.reports,
        parts.resources,
        needed_sections=list(SECTIONS),
        needed_reports=list(contents.reports),
    )
    return StageReport(
        stage="card",
        rows_in=len(contents.reports),
        rows_out=len(contents.reports),
        metrics={"sections": len(parts.sections), "pictures": len(parts.resources)},
        suites=(suite,),
        tables=(
            Table(
                title="The page",
                columns=("file", "shows"),
                rows=(
                    (
                        (project.workspace.card / "model_card.html")
                        .relative_to(project.workspace.root)
                        .as_posix(),
                        ", ".join(parts.sections),
                    ),
                ),
            ),
        ),
    )


def gather_contents(project: Project) -> CardContents:
    """Read all that the card shows.

    Raises:
        StageError: A stage before has not run.
    """
    config, workspace = project.config, project.workspace
    stages = [
        "validate",
        "augment",
        *(f"embed@{key}" for key in config.modalities),
        "train",
        "baselines",
        "evaluate",
        "export",
    ]
    reports = {stage: read_report(workspace.report(stage)) for stage in stages}
    model = json.loads((workspace.model / "config.json").read_text(encoding="utf-8"))
    signature = workspace.onnx / "signature.json"
    exported = json.loads(signature.read_text(encoding="utf-8")) if signature.is_file() else None
    schemas = {
        "params.yaml": SCHEMA_VERSION,
        "reports": REPORT_VERSION,
        "model": model["schema_version"],
    }

    def in_order(found: dict[str, Any]) -> dict[str, Any]:
        """Order targets as `params.yaml` does; JSON's are sorted."""
        return {name: found[name] for name in config.targets if name in found}

    return CardContents(
        config=config,
        evidence=read_evidence(workspace.evaluation, config),
        errors=read_by_target(workspace.evaluation / "errors.json"),
        label_errors=in_order(read_by_target(workspace.evaluation / "label_errors.json")),
        attribution=in_order(read_by_target(workspace.evaluation / "attribution.json")),
        reports=reports,
        encoders={
            key: {
                "name": encoder.name,
                "version": encoder.version,
                "dim": vectors["encoder"]["dim"],
                "licence": encoder.stated_licence,
                "source": encoder.source,
            }
            for (key, encoder), vectors in zip(
                project.encoders.items(), model["modalities"], strict=True
            )
        },
        signature=exported,
        pictures={
            plot.path: embed_picture(workspace.root / plot.path)
            for report in reports.values()
            for plot in report.plots
        },
        schemas=schemas | ({"signature": exported["schema_version"]} if exported else {}),
        libraries={name: metadata.version(name) for name in LIBRARIES},
        params=_write_params(project),
    )


def _write_params(project: Project) -> str:
    text = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(project.config.model_dump(mode="json", exclude=NOT_DECIDING), text)
    return text.getvalue()
