"""A stranger's folder: which table it has, and what each column is proposed to be used for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from mm_assets.contracts.config import SPLITS
from mm_assets.contracts.errors import SourceError
from mm_assets.data.delimited import (
    DEFAULT_DELIMITERS,
    guess_delimiter,
    guess_encoding,
    read_first_line,
)
from mm_assets.data.table import SUFFIXES, as_text, count_sheet_rows, list_tables, read_table
from mm_assets.sources.columns import Form, look_at_column, quote

if TYPE_CHECKING:
    import pandas as pd

Role = Literal[
    "id",
    "group",
    "split",
    "text",
    "image",
    "audio",
    "video",
    "signal",
    "events",
    "features",
    "numeric",
    "categorical",
    "binary",
    "multiclass",
    "multilabel",
    "regression",
    "unused",
]
ROLES: tuple[Role, ...] = get_args(Role)
SINGLE: tuple[Role, ...] = ("id", "group", "split")  # at most one column each
TARGETS: tuple[Role, ...] = ("binary", "multiclass", "multilabel", "regression")
TABULAR: tuple[Role, ...] = ("numeric", "categorical")
MEDIA: tuple[Role, ...] = ("image", "audio", "video", "signal")
INPUTS: tuple[Role, ...] = ("text", *MEDIA, "events", "features", *TABULAR)

# Words that a column's name is made of. The first target words are names for labels alone.
ID_WORDS = {"id", "uid", "uuid", "guid", "key", "index", "编号", "序号"}
GROUP_WORDS = {"speaker", "patient", "user", "customer", "client", "subject", "person", "author"}
GROUP_WORDS |= {"participant", "session", "video", "household", "family", "device", "owner"}
GROUP_WORDS |= {"说话人", "患者", "病人", "用户", "客户", "作者", "受试者"}
TARGET_WORDS = {"label", "labels", "target", "targets", "class", "y", "outcome", "digit"}
TARGET_WORDS |= {"sentiment", "emotion", "intent", "diagnosis", "topic", "topics", "tags", "genre"}
TARGET_WORDS |= {"标签", "类别", "情感", "意图", "诊断", "目标"}
PERHAPS_TARGET_WORDS = {"rating", "score", "category", "grade", "stars", "result", "churn"}
PERHAPS_TARGET_WORDS |= {"churned", "fraud", "price", "quality", "评分", "分数", "结果"}

MOST_CLASSES = 100  # with more, a target is asked about
FEWEST_ROWS_PER_CLASS = 5


@dataclass(frozen=True)
class Column:
    """One column of the table, and what it is proposed to be used for.

    Attributes:
        name: As in the header.
        form: What its cells are.
        role: What it is used for.
        reason: Why.
        sure: Whether this needs no confirmation.
    """

    name: str
    form: Form
    role: Role
    reason: str
    sure: bool = True


@dataclass(frozen=True)
class Survey:
    """What was seen in a folder.

    Attributes:
        folder: Where the table lies.
        table: Its file.
        others: Further tables that lie beside it, the larger first.
        encoding: Of a table that is text.
        delimiter: Null where the file's ending says it.
        sheet: Of a workbook with several; null where there is one.
        notes: What is unusual about the table as a file, each a sentence; each needs a look.
        frame: The raw table.
        columns: In the table's order.
    """

    folder: Path
    table: Path
    others: tuple[Path, ...]
    encoding: str
    delimiter: str | None
    sheet: str | None
    notes: tuple[str, ...]
    frame: pd.DataFrame
    columns: tuple[Column, ...]

    @property
    def unsure(self) -> tuple[Column, ...]:
        """Columns whose role needs confirmation."""
        return tuple(column for column in self.columns if not column.sure)

    def having(self, *roles: Role) -> tuple[Column, ...]:
        """Columns of these roles."""
        return tuple(column for column in self.columns if column.role in roles)


def survey_folder(
    folder: Path, *, table: str | None = None, roles: Mapping[str, Role] | None = None
) -> Survey:
    """Look at a folder's table, and at some of its media, and propose a role for each column.

    Args:
        folder: Holds a table that `mm_assets.data.table.read_table` reads, and media.
        table: Its name; by default the largest.
        roles: Roles that are settled already, by column.

    Raises:
        SourceError: No such folder or column, no table, one without rows, or one that cannot be
            read.
    """
    if not folder.is_dir():
        raise SourceError(f"FOLDER must be a folder that exists, got {folder}")
    tables = sorted(list_tables(folder), key=lambda path: -path.stat().st_size)
    if not tables and table is None:
        raise SourceError(
            f"no sample table in {folder}; it needs one with a row per sample, as one of "
            f"{', '.join(SUFFIXES)}, with media as paths relative to this folder"
        )
    if table is not None and not (folder / table).is_file():
        raise SourceError(
            f"--table must be a file of {folder}, got {table}; there are "
            f"{', '.join(path.name for path in tables) or 'no tables'}"
        )
    path = tables[0] if table is None else folder / table
    encoding, delimiter, sheet, notes = _find_format(path)
    frame = read_table(path, encoding=encoding, delimiter=delimiter, sheet=sheet)
    if frame.empty:
        raise SourceError(f"sample table {path.name} in {folder} has a header and no row; fill it")
    forms = {str(name): look_at_column(frame[name], folder) for name in frame.columns}
    return _assign_roles(
        Survey(
            folder,
            path,
            tuple(other for other in tables if other != path),
            encoding,
            delimiter,
            sheet,
            notes,
            frame,
            tuple(Column(name, form, "unused", form.reason) for name, form in forms.items()),
        ),
        roles or {},
    )


def reconsider(survey: Survey, roles: Mapping[str, Role]) -> Survey:
    """Propose anew, with the roles of some columns settled.

    Raises:
        SourceError: No such column.
    """
    return _assign_roles(survey, roles)


def _find_format(path: Path) -> tuple[str, str | None, str | None, tuple[str, ...]]:
    """Find a text's encoding and delimiter, a workbook's sheet; what is unusual is noted."""
    suffix = path.suffix.lower()
    if not path.is_file() or not path.stat().st_size or suffix == ".parquet":
        return "utf-8", None, None, ()
    if suffix == ".xlsx":
        rows = count_sheet_rows(path)
        if len(rows) == 1:
            return "utf-8", None, None, ()
        longest = max(rows, key=lambda name: rows[name])
        note = f"the workbook has sheets {', '.join(map(quote, rows))}; {quote(longest)} is the longest"
        return "utf-8", None, longest, (note,)
    notes = []
    encoding = guess_encoding(path) or "utf-8"
    if encoding not in ("utf-8", "utf-16", "utf-32"):
        notes.append(f"encoding {encoding}: the file is not UTF-8, and its bytes look like this")
    usual = DEFAULT_DELIMITERS.get(suffix)
    delimiter = usual and guess_delimiter(read_first_line(path, encoding), given=usual)
    if delimiter:
        notes.append(f"delimiter {quote(delimiter)}: the header has no {quote(usual)}")
    return encoding, delimiter, None, tuple(notes)


def _assign_roles(survey: Survey, given: Mapping[str, Role]) -> Survey:
    """Choose roles in the order in which they exclude each other.

    Raises:
        SourceError: A given role is of no column, or cannot be that of this one.
    """
    names = [column.name for column in survey.columns]
    _require_given(survey, given)
    rows = len(survey.frame)
    chosen: dict[str, Column] = {
        column.name: replace(column, role=given[column.name], reason="as you said", sure=True)
        for column in survey.columns
        if column.name in given
    }
    open_ = [column for column in survey.columns if column.name not in given]
    taken = {column.role for column in chosen.values()}

    def settle(column: Column | None) -> None:
        if column is not None:
            chosen[column.name] = column
            open_[:] = [other for other in open_ if other.name != column.name]

    if "split" not in taken:
        settle(_choose_split(open_, survey.frame))
    if "id" not in taken:
        settle(_choose_id(open_, rows))
    if "group" not in taken:
        settle(_choose_group(open_, rows))
    for column in _choose_targets(open_, survey.frame, wanted=not taken & set(TARGETS)):
        settle(column)
    for column in list(open_):
        settle(_choose_input(column))
    survey = replace(survey, columns=tuple(chosen[name] for name in names))
    return _leave_out_leaks(survey, given)


def _require_given(survey: Survey, given: Mapping[str, Role]) -> None:
    """Refuse roles that cannot be.

    Raises:
        SourceError: There is one.
    """
    forms = {column.name: column.form for column in survey.columns}
    for name, role in given.items():
        if name not in forms:
            raise SourceError(
                f"the table {survey.table.name} has no column {name!r}; it has {', '.join(forms)}"
            )
        if role == "features" and "dim" not in forms[name].details:
            raise SourceError(
                f"column {name!r} cannot be features, which are lists of numbers; here are "
                f"{forms[name].reason}"
            )
    for role in SINGLE:
        named = [name for name, other in given.items() if other == role]
        if len(named) > 1:
            raise SourceError(f"only one column can be the {role}, got {', '.join(named)}")


def _words(name: str) -> set[str]:
    """Cut a column's name into words: `sampleId` and `sample_id` hold `id`."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return set(re.findall(r"[^\W_]+", spaced.lower()))


def _choose_split(columns: list[Column], frame: pd.DataFrame) -> Column | None:
    for column in columns:
        if not 2 <= column.form.distinct <= 5:
            continue
        values = sorted(as_text(frame[column.name].dropna()).unique())
        if set(values) == set(SPLITS):
            return replace(column, role="split", reason="its values are train, validation, test")
        if "train" in (value.lower() for value in values):
            return replace(
                column,
                reason=f"it looks like a split, but says {', '.join(values)}; to use it, write "
                f"{', '.join(SPLITS)}, with rows of each",
                sure=False,
            )
    return None


def _choose_id(columns: list[Column], rows: int) -> Column | None:
    unique = [
        column
        for column in columns
        if column.form.distinct == rows and column.form.kind not in (*MEDIA, "events", "features")
    ]
    named = [column for column in unique if _words(column.name) & ID_WORDS]
    if named:
        best = min(named, key=lambda column: (column.form.kind == "row_numbers", len(column.name)))
        return replace(best, role="id", reason="it differs in every row", sure=True)
    for column in columns:
        if _words(column.name) & ID_WORDS and column.form.distinct >= 0.9 * rows:
            repeats = rows - column.form.distinct
            return replace(
                column,
                role="id",
                reason="by its name; rows without an id, or with one that was there before, will "
                f"be quarantined: {repeats}",
                sure=False,
            )
    words = [column for column in unique if column.form.kind == "nothing"]
    if words:
        return replace(words[0], role="id", reason="it differs in every row", sure=len(words) == 1)
    numbered = [column for column in unique if column.form.kind == "row_numbers"]
    if numbered:
        return replace(
            numbered[0],
            role="id",
            reason="it numbers the rows, and no other column tells them apart; keep the numbers "
            "when rows are added, since splits go by them",
            sure=False,
        )
    return None


def _choose_group(columns: list[Column], rows: int) -> Column | None:
    repeated = [
        column
        for column in columns
        if 2 <= column.form.distinct <= rows / 1.5
        and column.form.kind in ("category", "number", "nothing")
    ]
    named = [column for column in repeated if _words(column.name) & GROUP_WORDS]
    others = [column for column in repeated if _words(column.name) & ID_WORDS]
    for column in named or others:
        count = column.form.distinct
        if count < len(SPLITS):
            return replace(
                column,
                reason=f"by its name a group, but it has {count} values, and three splits need 3; "
                "what is learnt from one is tested on itself",
                sure=False,
            )
        return replace(
            column,
            role="group",
            reason=f"{count} values, about {rows / count:.3g} rows each: rows of one must not fall into "
            "two splits, or the model is tested on what it has seen",
            sure=bool(named) and len(named) == 1,
        )
    return None


def _choose_targets(columns: list[Column], frame: pd.DataFrame, *, wanted: bool) -> list[Column]:
    """Choose what is to be predicted: by name, or else the last column that could be."""
    judged = {
        column.name: target
        for column in columns
        if (target := _judge_target(column, frame[column.name])) is not None
    }
    found = [judged[name] for name in judged if _words(name) & TARGET_WORDS]
    found = found or [
        target
        for name, target in judged.items()
        if any(word in name for word in TARGET_WORDS if not word.isascii())
    ]
    if found or not wanted:
        return found
    perhaps = [judged[name] for name in judged if _words(name) & PERHAPS_TARGET_WORDS] or list(
        judged.values()
    )[-1:]
    return [
        replace(target, sure=False, reason=f"perhaps what is to be predicted: {target.reason}")
        for target in perhaps[:1]
    ]


def _judge_target(column: Column, values: pd.Series) -> Column | None:
    """Say of which kind a target would be, null where it can be none."""
    form, rows = column.form, int(values.notna().sum())
    missing = len(values) - rows
    labelled = f"; {missing} rows have none, and only help the others" if missing else ""
    if form.kind == "labels":
        return replace(column, role="multilabel", reason=form.reason + labelled, sure=form.sure)
    if form.kind not in ("number", "category", "nothing") or form.distinct < 2:
        return None
    if form.kind == "nothing" and "date" in form.reason:
        return None
    counts = as_text(values.dropna()).value_counts()
    rarest = f"{quote(counts.index[-1])} is the rarest with {counts.iloc[-1]} of {rows} rows"
    respelt = _find_respelt(counts.index)
    sure = form.sure and not respelt
    if form.distinct == 2:
        reason = f"two values; {rarest}{labelled}{respelt}"
        return replace(column, role="binary", reason=reason, sure=sure)
    # What is no number at all is a slip, and told as such.
    whole = not any(re.fullmatch(r"-?\d*\.\d+(e.*)?", name) for name in counts.index)
    if form.kind == "number" and (not whole or form.distinct > MOST_CLASSES / 2):
        return replace(column, role="regression", reason=f"{form.reason}{labelled}", sure=form.sure)
    if form.distinct > rows / FEWEST_ROWS_PER_CLASS:
        return None
    reason = f"{form.distinct} classes; {rarest}{labelled}{respelt}"
    if form.distinct > MOST_CLASSES:
        return replace(
            column, role="multiclass", reason=f"{reason}; so many are seldom learnt", sure=False
        )
    ordered = whole and bool(_words(column.name) & PERHAPS_TARGET_WORDS)
    return replace(
        column,
        role="multiclass",
        reason=reason + ("; as regression, a near miss would count as one" if ordered else ""),
        sure=sure and not ordered,
    )


def _find_respelt(classes: Iterable[str]) -> str:
    """Name two classes that are one but for case and spaces; an empty text where there are none."""
    seen: dict[str, str] = {}
    for name in classes:
        first = seen.setdefault(name.strip().casefold(), name)
        if first != name:
            return (
                f"; {quote(first)} and {quote(name)} count as two: write them in one way if they are "
                "the same"
            )
    return ""


def _choose_input(column: Column) -> Column:
    """Use a column as what it is; as nothing where that would help no model."""
    form = column.form
    if form.kind in ("text", "image", "audio", "video", "signal", "events", "features"):
        return replace(column, role=form.kind, reason=form.reason, sure=form.sure)
    if not column.sure:  # looked at before, and left out for a reason
        return column
    named = _words(column.name) & (GROUP_WORDS | ID_WORDS)
    if form.kind in ("number", "category") and named:
        return replace(column, reason=f"by its name it says who or what a row is of: {form.reason}")
    if form.kind == "number":
        return replace(column, role="numeric", reason=form.reason, sure=form.sure)
    if form.kind == "category":
        return replace(column, role="categorical", reason=form.reason, sure=form.sure)
    if form.kind == "labels":
        return replace(column, reason=f"{form.reason}, which no kind of input reads", sure=False)
    return replace(column, reason=form.reason, sure=form.sure)


def _leave_out_leaks(survey: Survey, given: Mapping[str, Role]) -> Survey:
    """Leave out columns that tell the target, and targets that say what another one says."""
    columns = {column.name: column for column in survey.columns}
    targets = [column for column in survey.having(*TARGETS) if column.role != "multilabel"]
    for at, target in enumerate(targets):
        labels = survey.frame[target.name]
        for other in targets[at + 1 :]:
            if other.name not in given and _say_the_same(labels, survey.frame[other.name]):
                columns[other.name] = replace(
                    other,
                    role="unused",
                    reason=f"it says in other words what {quote(target.name)} says",
                    sure=False,
                )
        for other in survey.having(*TABULAR):
            leak = _find_leak(survey.frame[other.name], labels, numeric=other.role == "numeric")
            if leak:
                columns[other.name] = replace(
                    other,
                    role=other.role if other.name in given else "unused",
                    reason=f"it gives {quote(target.name)} away ({leak}): a model would learn that "
                    "alone, and fail where it is not known beforehand",
                    sure=False,
                )
    return replace(survey, columns=tuple(columns[column.name] for column in survey.columns))


def _say_the_same(one: pd.Series, other: pd.Series) -> bool:
    import pandas as pd

    both = pd.DataFrame({"one": one.astype("str"), "other": other.astype("str")})
    both = both[one.notna() & other.notna()]
    pairs = len(both.drop_duplicates())
    return 1 < pairs == both["one"].nunique() == both["other"].nunique() <= len(both) / 2


def _find_leak(values: pd.Series, labels: pd.Series, *, numeric: bool) -> str:
    """Say how a column tells the target; an empty text where it does not."""
    import pandas as pd

    known = values.notna() & labels.notna()
    values, labels = values[known], labels[known]
    classes = labels.astype("str").nunique()
    if classes < 2 or len(values) < 20:
        return ""
    if (values.astype("str") == labels.astype("str")).all():
        return "it is the same in every row"
    distinct = values.astype("str").nunique()
    if distinct <= len(values) / 5:
        per_value = labels.astype("str").groupby(values.astype("str")).nunique()
        if per_value.max() == 1:
            return f"each of its {distinct} values goes with one value of the target"
    if not numeric:
        return ""
    numbers = pd.to_numeric(values, errors="coerce")
    if classes > len(labels) / 5:
        correlation = numbers.corr(pd.to_numeric(labels, errors="coerce"))
        return f"their correlation is {correlation:.4f}" if abs(correlation) > 0.999 else ""
    if numbers.isna().any():
        return ""
    spans = numbers.groupby(labels.astype("str")).agg(["min", "max"]).sort_values("min")
    apart = (spans["max"].iloc[:-1].to_numpy() < spans["min"].iloc[1:].to_numpy()).all()
    return "the target's values are ranges of it" if apart else ""
