"""Stage `validate`: every row looked at once; bad rows go to quarantine with their reason."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mm_assets.contracts.report import StageReport, SuiteResult, Table
from mm_assets.data.atomic import atomic_folder
from mm_assets.data.card import read_card
from mm_assets.data.table import ID, clear_blanks
from mm_assets.validation.expectations import (
    check_expectations,
    read_expectations,
    require_columns,
)
from mm_assets.validation.probing import probe_modality
from mm_assets.validation.rows import (
    drop_found,
    find_bad_rows,
    find_duplicates,
    find_unordered,
    join_findings,
    name_samples,
    number_contents,
    read_ids,
    sort_groups,
)
from mm_assets.validation.runner import join_suites
from mm_assets.validation.samples import check_samples
from mm_assets.validation.table import check_table

if TYPE_CHECKING:
    from mm_assets.stages.project import Project

SAID = ("title", "description", "source", "licence")  # of data/card.json, shown in the report


def validate(project: Project) -> StageReport:
    """Sort the raw table's rows into valid samples and quarantine.

    Writes under `artifacts/validated/`:
        `samples.parquet`: one row per valid sample, in the raw table's order, or groups in that
        of `data.order`: ``id``, ``group``, ``split`` (where given), modality keys, target keys.
        `probes.parquet`: one row per present modality of a valid sample: ``id``, ``modality``,
        ``content`` (hex SHA-256) and what was measured.
        `quarantine.parquet`: one row per finding: ``row`` (from 1), ``id``, ``modality`` (null
        where none is to blame), ``reason``, ``detail``. A row may have several.

    Raises:
        ConfigError: Section `expectations` names what there is not.
        SourceError: The table is absent or unreadable, or `data/card.json` is.
    """
    config, workspace = project.config, project.workspace
    given = read_expectations(config)
    raw = project.read_raw()
    well_formed = check_table(raw, config, project.modalities, workspace.data)
    if well_formed.blocks:
        _write(project, pd.DataFrame(), pd.DataFrame(), join_findings([]))
        return StageReport(stage="validate", rows_in=len(raw), rows_out=0, suites=(well_formed,))
    require_columns(given, list(raw.columns), list(project.modalities))

    named, probes, findings = judge_rows(project, raw, read_ids(raw, config))
    samples = sort_groups(drop_found(named, findings), raw, config)
    kept = _stack_probes(probes, samples)
    lost = len(raw) - len(samples)
    _write(project, samples, kept, findings)
    valid = check_samples(
        samples,
        kept,
        config,
        outlines={
            key: target.outline(samples[key])
            for key, target in project.targets.items()
            if target.has_classes
        },
        findings=findings,
        quarantined_share=lost / len(raw),
    )
    if given:
        further = check_expectations(given, raw.loc[samples.index], ids=samples[ID], probes=kept)
        valid = join_suites([valid, further], description=valid.description)
    return _report(
        project, rows_in=len(raw), samples=samples, findings=findings, suites=(well_formed, valid)
    )


def judge_rows(
    project: Project, raw: pd.DataFrame, ids: pd.Series
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], pd.DataFrame]:
    """Apply every rule to rows of the raw table, and open every medium.

    Args:
        project: Names columns, kinds and classes, and the data folder.
        raw: All rows, or some of them under the index that they have among all.
        ids: Of `read_ids`, for all rows.

    Returns:
        The rows as `name_samples` gives them, the measurements by modality, and the findings.
    """
    config = project.config
    read = {
        key: target.read_labels(clear_blanks(raw[config.targets[key].column]), config.targets[key])
        for key, target in project.targets.items()
    }
    named = name_samples(raw, config, ids, {key: labels for key, (labels, _) in read.items()})
    probes, findings = _probe_all(project, named)
    illegal = {key: details for key, (_, details) in read.items()}
    bad = [find_bad_rows(named, config, illegal), find_unordered(named, raw, config)]
    findings = join_findings([*bad, findings])
    passed = drop_found(named, findings)
    content = number_contents(
        pd.DataFrame(
            {key: probe["content"].reindex(passed.index) for key, probe in probes.items()}
        ),
        identifying=project.identifying,
    )
    duplicates = find_duplicates(passed, content, list(config.targets), seed=config.seed)
    return named, probes, join_findings([findings, duplicates])


def _probe_all(
    project: Project, named: pd.DataFrame
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Probe every modality; a modality without one usable cell still has a `content` column."""
    probes, findings, compute = {}, [], project.config.compute
    for key, modality in project.modalities.items():
        probes[key], bad = probe_modality(
            named,
            key,
            modality,
            project.workspace.data,
            workers=compute.count_threads(),
            decode_s=compute.decode_s,
            decode_megabytes=compute.decode_megabytes,
        )
        findings.append(bad)
    return probes, join_findings(findings)


def _stack_probes(probes: dict[str, pd.DataFrame], samples: pd.DataFrame) -> pd.DataFrame:
    """Put the measurements of kept samples below each other, modality by modality."""
    parts = []
    for key, probe in probes.items():
        kept = probe.loc[probe.index.intersection(samples.index)]
        kept.insert(0, ID, samples.loc[kept.index, ID])
        kept.insert(1, "modality", key)
        parts.append(kept)
    return pd.concat(parts, ignore_index=True)


def _write(
    project: Project, samples: pd.DataFrame, probes: pd.DataFrame, findings: pd.DataFrame
) -> None:
    with atomic_folder(project.workspace.validated) as folder:
        samples.to_parquet(folder / "samples.parquet", index=False)
        probes.to_parquet(folder / "probes.parquet", index=False)
        findings.to_parquet(folder / "quarantine.parquet", index=False)


def _report(
    project: Project,
    *,
    rows_in: int,
    samples: pd.DataFrame,
    findings: pd.DataFrame,
    suites: tuple[SuiteResult, ...],
) -> StageReport:
    quarantined = rows_in - len(samples)
    reasons = findings.groupby("reason").agg(
        rows=("row", "nunique"), example=("id", "first"), detail=("detail", "first")
    )
    reasons = reasons.fillna({"example": ""}).sort_values("rows", ascending=False, kind="stable")
    return StageReport(
        stage="validate",
        rows_in=rows_in,
        rows_out=len(samples),
        metrics={
            "quarantined": quarantined,
            "quarantined_share": round(quarantined / rows_in, 6),
            **{f"{key}_missing": int(samples[key].isna().sum()) for key in project.modalities},
        },
        suites=suites,
        tables=(
            *_describe_source(project.workspace.data / "card.json"),
            Table(
                title="Quarantined rows by reason",
                columns=("reason", "rows", "example", "detail"),
                rows=tuple(reasons.reset_index().itertuples(index=False, name=None)),
            ),
        ),
    )


def _describe_source(path: Path) -> tuple[Table, ...]:
    """Repeat what `data/card.json` says of the data in words, where there is such a file."""
    card = read_card(path)
    rows = tuple((key, card[key]) for key in SAID if isinstance(card.get(key), str))
    if not card:
        return ()
    return (Table(title="About the data", columns=("", "as its card says"), rows=rows),)
