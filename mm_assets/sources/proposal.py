"""A survey as a commented `params.yaml`: every choice with its reason beside it."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from mm_assets.contracts.config import RESERVED, SCHEMA_VERSION, Config, SplitConfig
from mm_assets.contracts.errors import SourceError
from mm_assets.data.splits import assign_splits
from mm_assets.data.table import as_text
from mm_assets.sources.columns import quote
from mm_assets.sources.folder import INPUTS, MEDIA, TABULAR, TARGETS, Column, Survey

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 98
GUESSED_HZ = 100.0  # of a signal; it has to be given
SEEDS = 200  # that are tried for splits near their shares
FEW_GROUPS = 300  # with more, any seed comes near
NAMED_CLASSES = 50  # more are left to the training rows
SLICED = range(2, 21)  # values of a column that is worth slicing by
# A class with fewer rows than both is more likely a slip than something to learn.
FEWEST_ROWS, RARE_SHARE = 5, 0.01
UNSURE = "UNSURE: "


def write_proposal(survey: Survey, *, before: Config | None = None) -> str:
    """Write the whole of `params.yaml`.

    A line that starts with ``# UNSURE:`` says what needs a person's look.

    Args:
        survey: What was found, with a role for each column.
        before: The `params.yaml` that this one replaces. If it is of the same table, id and group,
            seed and shares stay as they are, since another cut would test on what was trained on.

    Raises:
        SourceError: No column serves as id, as input or as target; says how to name one.
    """
    _require_roles(survey)
    slices = _choose_slices(survey)
    taken = set(RESERVED)
    targets = [
        line for column in survey.having(*TARGETS) for line in _target(column, survey, taken)
    ]
    kept = before if before is not None and _is_of(before, survey) else None
    shares = SplitConfig() if kept is None else kept.split
    sections = [
        _head(survey, None if kept is None else kept.seed),
        _data(survey),
        [
            "# By a hash of seed and group (or id): a row keeps its split, however the data grows.",
            *(["# The table gives the split itself."] if survey.having("split") else []),
            f"split: {_flow(shares.model_dump())}",
        ],
        [
            "# The channels of a sample, under names of your choice. An empty cell is a missing one.",
            "modalities:",
            *_modalities(survey, taken),
        ],
        ["# What to predict. A label may be missing in a row.", "targets:", *targets],
        _unused(survey),
        [
            "# Further expectations of a column (or of what is measured: `image.width_px`), in the "
            "terms of",
            "# Great Expectations, such as  age: [{type: expect_column_values_to_be_between, "
            "min_value: 0}]",
            "expectations: {}",
            "augment: {copies: 1}     # further renderings of each training row",
            "fusion: {name: gated}    # or concat, weighted, low_rank, cross_attention, transformer, late, hybrid",
            "train: {}                # epochs, patience, batch_size, learning_rate, ...",
            *_remark(
                f"slices: test rows are also looked at by the values of {', '.join(slices)}"
                if slices
                else "slices: name columns here, such as a region, to look at test rows by their "
                "values"
            ),
            f"evaluation: {{bootstrap: 1000, slices: {_flow(slices)}}}",
            "export: {enabled: true, tolerance: 1e-4}   # largest difference in probability, ONNX "
            "from PyTorch",
            "gates: {quarantined_share: 0.05}           # more broken rows than this stop the "
            "pipeline",
        ],
        [
            'schedule: {cron: "0 3 * * *", timezone: UTC}   # the daily retraining',
            "# Batches in the drop folder start one, too, where they differ or are many rows.",
            "drift: {folder: incoming, p_value: 0.01, enough_rows: 500}",
        ],
    ]
    return "\n\n".join("\n".join(section) for section in sections if section) + "\n"


def _require_roles(survey: Survey) -> None:
    """Require what no pipeline can do without.

    Raises:
        SourceError: It is not there.
    """
    names = ", ".join(
        f"{column.name} ({column.reason})" if column.role == "unused" else column.name
        for column in survey.columns
    )
    ways = (
        "name one with `mm init FOLDER --as COLUMN=ROLE`, or run it in a terminal and answer its "
        f"questions; the columns are {names}"
    )
    if not survey.having(*TARGETS):
        raise SourceError(f"{survey.table.name}: no column looks like a label to predict; {ways}")
    if not survey.having(*INPUTS):
        raise SourceError(f"{survey.table.name}: no column is left to predict from; {ways}")


def _is_of(before: Config, survey: Survey) -> bool:
    """Tell whether splits of an earlier configuration were cut by the same columns."""
    names = {column.role: column.name for column in survey.having("id", "group")}
    data = before.data
    return (data.table, data.id, data.group) == (
        survey.table.name,
        names.get("id"),
        names.get("group"),
    )


def _head(survey: Survey, kept_seed: int | None) -> list[str]:
    rows, columns = survey.frame.shape
    groups = survey.having("group")
    seed = "seed: 0"
    if kept_seed is not None:
        said = "As in the params.yaml before: with another one rows would change their splits."
        seed = "\n".join([*_remark(said), f"seed: {kept_seed}"])
    elif groups and not survey.having("split") and groups[0].form.distinct <= FEW_GROUPS:
        number, counts = _choose_seed(survey.frame[groups[0].name])
        shown = f"{counts['train']}, {counts['validation']} and {counts['test']}"
        said = (
            f"Of seeds 0 to {SEEDS - 1} this one cuts the {groups[0].form.distinct} values of "
            f"{quote(groups[0].name)} nearest to the shares below: {shown} for train, validation "
            "and test."
        )
        if counts["test"] < 5:
            said += " So few in a split mean figures that change a lot with the seed."
        seed = "\n".join([*_remark(said), f"seed: {number}"])
    return [
        *_remark(
            f"Proposed by `mm init` from {survey.table.name}: {rows} rows, {columns} columns. Every "
            "choice has its reason beside it; change what you know better."
        ),
        f"version: {SCHEMA_VERSION}",
        seed,
    ]


def _choose_seed(groups: pd.Series) -> tuple[int, dict[str, int]]:
    """Choose the seed that cuts groups nearest to the default shares of rows; count its groups."""
    shares = SplitConfig()
    sizes = as_text(groups.dropna()).value_counts()
    names = sizes.index.to_series()
    wanted = {name: getattr(shares, name) * sizes.sum() for name in ("train", "validation", "test")}

    def cut(seed: int) -> pd.Series:
        return assign_splits(names, shares=shares, seed=seed)

    def miss(seed: int) -> float:
        rows = sizes.groupby(cut(seed)).sum().reindex(list(wanted), fill_value=0)
        empty = (rows == 0).sum()  # a split without rows stops the pipeline
        return float(sum(abs(rows[name] - wanted[name]) for name in wanted) + empty * sizes.sum())

    best = min(range(SEEDS), key=miss)
    found = cut(best).value_counts()
    return best, {name: int(found.get(name, 0)) for name in wanted}


def _data(survey: Survey) -> list[str]:
    lines = ["data:"]
    if survey.others:
        others = ", ".join(quote(path.name) for path in survey.others)
        lines += _remark(
            f"the folder also has {others}; this one is the largest. The pipeline reads one table: "
            "join them first if rows are spread over several",
            unsure=True,
            indent=2,
        )
    lines += [f"  table: {_plain(survey.table.name)}"]
    for note in survey.notes:
        lines += _remark(note, unsure=True, indent=2)
    if survey.encoding != "utf-8":
        lines += [f"  encoding: {survey.encoding}"]
    if survey.sheet:
        lines += [f"  sheet: {_plain(survey.sheet)}"]
    if survey.delimiter:
        lines += [f"  delimiter: {json.dumps(survey.delimiter)}"]
    if not survey.having("id"):
        lines += [
            *_remark(
                "No column names the rows, so each is named by its content: one that is edited "
                "counts as new, and may change its split. Better name a column here.",
                unsure=True,
                indent=2,
            ),
            "  id: null",
        ]
    for column in survey.having("id", "group", "split"):
        lines += [
            *_remark(column.reason, unsure=not column.sure, indent=2),
            f"  {column.role}: {_plain(column.name)}",
        ]
    return lines


def _modalities(survey: Survey, taken: set[str]) -> list[str]:
    lines: list[str] = []
    for column in survey.having("text", *MEDIA, "events", "features"):
        details = column.form.details
        key = _choose_key(column.name, column.role, taken)
        options: dict[str, object] = {}
        encoder: dict[str, object] = {}
        if column.role == "text":
            encoder = {"name": details.get("encoder", "minilm")}
        elif column.role == "image":
            encoder = {"name": "efficientnet_lite0", "size_px": details.get("size_px", 224)}
        elif column.role == "audio":
            encoder = {"name": "voice_functionals"}
            options = {"max_s": details["max_s"]} if "max_s" in details else {}
        elif column.role == "video":
            encoder = {"name": "video_frames"}
            options = {"max_s": details["max_s"]} if "max_s" in details else {}
        elif column.role == "signal":
            encoder = {"name": "signal_statistics"}
            options = {"rate_hz": GUESSED_HZ, "channels": details.get("channels", 1)}
            column = replace(
                column,
                reason=f"{column.reason}; `rate_hz`, the samples a second, is a guess: write yours",
            )
        elif column.role == "events":
            encoder = {"name": "event_counts"}
        elif details.get("sequence"):
            encoder = {"name": "standardized_steps"}
            options = dict(details)
        else:
            encoder = {"name": "standardized"}
            options = {"dim": details.get("dim", 1)}
        lines += [
            *_remark(column.reason, unsure=not column.sure, indent=2),
            f"  {key}:",
            f"    kind: {column.role}",
            f"    column: {_plain(column.name)}",
            *([f"    options: {_flow(options)}"] if options else []),
            f"    encoder: {_flow(encoder)}",
        ]
    if tabular := survey.having(*TABULAR):
        key = _choose_key("tabular", "tabular", taken)
        lines += [f"  {key}:", "    kind: tabular", "    columns:"]
        for column in tabular:
            lines += [
                *_remark(column.reason, unsure=not column.sure, indent=6),
                f"      {_plain(column.name)}: {column.role}",
            ]
        lines += ["    encoder: {name: tabular}"]
    return lines


def _target(column: Column, survey: Survey, taken: set[str]) -> list[str]:
    lines = [
        *_remark(column.reason, unsure=not column.sure, indent=2),
        f"  {_choose_key(column.name, 'target', taken)}:",
        f"    kind: {column.role}",
        f"    column: {_plain(column.name)}",
    ]
    if column.role in ("binary", "multiclass"):
        classes, rare = _list_classes(survey.frame[column.name])
        _require_classes(column, classes + rare, survey)
        if len(classes) < 2:  # none is common: whether that is too many, `mm check` says
            classes, rare = sorted(classes + rare), []
        if rare:
            lines += _remark(
                f"too rare to be learnt, so their rows will be quarantined: {_flow(rare)[1:-1]}; "
                "are they misspelt?",
                unsure=True,
                indent=4,
            )
        if rare or len(classes) <= NAMED_CLASSES:
            lines += _wrap_flow("    classes: ", classes)
        else:
            lines += _remark("`classes` is left out: they are those of the training rows", indent=4)
    if column.role == "multilabel" and "separator" in column.form.details:
        lines += [f"    options: {_flow({'separator': column.form.details['separator']})}"]
    return lines


def _require_classes(column: Column, classes: list[str], survey: Survey) -> None:
    """Refuse a target of classes without enough of them, or with too many for yes or no.

    Raises:
        SourceError: It is one.
    """
    most = 2 if column.role == "binary" else len(classes)
    if not 2 <= len(classes) <= most:
        found = f"{quote(classes[0])} alone" if len(classes) == 1 else f"{len(classes)} values"
        raise SourceError(
            f"{survey.table.name}: column {column.name!r} cannot be {column.role}, which needs "
            f"{'2 classes' if column.role == 'binary' else 'at least 2 classes'}; it has "
            f"{found if classes else 'no value'}; say what else it is, or name another, with "
            "`mm init FOLDER --as COLUMN=ROLE`"
        )


def _unused(survey: Survey) -> list[str]:
    unused = survey.having("unused")
    if not unused:
        return []
    lines = ["# Columns that are not used:"]
    for column in unused:
        lines += _remark(f"{quote(column.name)}: {column.reason}", unsure=not column.sure)
    return lines


def _choose_slices(survey: Survey) -> list[str]:
    return [
        column.name for column in survey.having("categorical") if column.form.distinct in SLICED
    ]


def _list_classes(labels: pd.Series) -> tuple[list[str], list[str]]:
    """List classes as the pipeline reads them, numbers in their order, and apart the rare ones."""
    counts = as_text(labels.dropna()).value_counts()
    few = (counts < FEWEST_ROWS) & (counts < RARE_SHARE * counts.sum())
    common = [str(name) for name in counts.index[~few]]
    numeric = all(re.fullmatch(r"-?\d+", name) for name in common)
    return sorted(common, key=int if numeric else str), sorted(map(str, counts.index[few]))


def _choose_key(name: str, otherwise: str, taken: set[str]) -> str:
    """Make a name for `params.yaml` from a column's, one that is not taken yet."""
    key = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    key = key if re.match(r"[a-z]", key) else otherwise
    number, chosen = 2, key
    while chosen in taken:
        chosen, number = f"{key}_{number}", number + 1
    taken.add(chosen)
    return chosen


def _remark(text: str, *, unsure: bool = False, indent: int = 0) -> list[str]:
    """Write a comment, on as many lines as it takes."""
    return textwrap.wrap(
        (UNSURE if unsure else "") + text,
        WIDTH,
        initial_indent=" " * indent + "# ",
        subsequent_indent=" " * indent + "#   ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(text: object) -> str:
    """Write a YAML scalar: as it is where that cannot mean anything else, else in quotes."""
    if isinstance(text, bool | int | float):
        return json.dumps(text)
    plain = str(text)
    words = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", plain) and plain.lower() not in words:
        return plain
    return json.dumps(plain, ensure_ascii=False)


def _flow(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_plain(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return _plain(value)


def _wrap_flow(start: str, items: Iterable[str]) -> list[str]:
    """Write a list on as many lines as it takes."""
    return textwrap.wrap(
        start + _flow(list(items)),
        WIDTH,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
