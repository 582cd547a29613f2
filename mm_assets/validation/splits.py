"""Does a test row stay unseen, and does it come from the same world as the training rows?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from mm_assets.contracts.config import SPLITS
from mm_assets.data.table import COPY, GROUP, ID, SPLIT
from mm_assets.validation.runner import join_suites, run_suite

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

    from mm_assets.contracts.report import SuiteResult

NAME = "splits_are_sound"
# Total variation distance above which two label distributions count as different: two draws of
# 100 rows of 5 equally frequent classes differ by 0.09 on average.
DISTRIBUTION_GAP = 0.2
SHOWN_NAMES = 3


def check_splits(
    rows: pd.DataFrame,
    content: pd.Series,
    *,
    media: pd.DataFrame,
    outlines: Mapping[str, pd.Series],
) -> SuiteResult:
    """Check the augmented table: suite `splits_are_sound`.

    Args:
        rows: As in `augmented/samples.parquet`.
        content: Per sample id (the index), what is equal for samples of equal content; or null.
        media: Columns ``id``, ``modality`` and ``content`` of cells that are files.
        outlines: By target, the class (or range of numbers) of each labelled sample, repeated
            where one has several; the index is that of `rows`.

    Returns:
        Errors for leaks between splits, warnings for files used in two, and for labels that are
        distributed otherwise or occur in no training row.
    """
    samples = rows[rows[COPY] == 0]
    parts = [
        _check_rows(rows),
        _check_leaks(samples[GROUP], samples[SPLIT], of="group"),
        _check_leaks(samples[ID].map(content), samples[SPLIT], of="content"),
        _check_files(samples, media),
        *(
            _check_labels(outline, samples.loc[outline.index, SPLIT], key)
            for key, outline in outlines.items()
        ),
    ]
    return join_suites(
        parts,
        description="No group or content is in two splits, and only training rows have copies.",
    )


def _check_rows(rows: pd.DataFrame) -> SuiteResult:
    import great_expectations.expectations as gxe

    expectations: list[Expectation] = [
        gxe.ExpectColumnValuesToBeInSet(column=SPLIT, value_set=list(SPLITS)),
        gxe.ExpectColumnDistinctValuesToContainSet(
            column=SPLIT,
            value_set=list(SPLITS),
            description="no split is empty",
            meta={"advice": "give more groups, or other shares or another `seed` in params.yaml"},
        ),
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=[ID, COPY], description="every pair of id and copy occurs once"
        ),
    ]
    copies = run_suite(
        NAME,
        rows[rows[COPY] > 0],
        [
            gxe.ExpectColumnValuesToBeInSet(
                column=SPLIT, value_set=["train"], description="only training rows have copies"
            )
        ],
    )
    return join_suites([run_suite(NAME, rows, expectations), copies])


def _check_leaks(names: pd.Series, splits: pd.Series, *, of: str) -> SuiteResult:
    """Check that no name occurs in two splits; the offending names are the unexpected values."""
    import great_expectations.expectations as gxe

    pairs = pd.DataFrame({of: names.to_numpy(), SPLIT: splits.to_numpy()}).drop_duplicates()
    leak = gxe.ExpectColumnValuesToBeUnique(
        column=of,
        description=f"each {of} is in one split",
        meta={"advice": "mend the split column, or leave it out: `data.split` in params.yaml"},
    )
    return run_suite(NAME, pairs, [leak])


def _check_files(samples: pd.DataFrame, media: pd.DataFrame) -> SuiteResult:
    import great_expectations.expectations as gxe

    pairs = media.merge(samples[[ID, SPLIT]], on=ID)
    pairs = pairs.drop_duplicates(["modality", "content", SPLIT])
    first = pairs.groupby(["modality", "content"])[ID].transform("first")
    unique = gxe.ExpectColumnValuesToBeUnique(
        column="file",
        severity="warning",
        description="no file's content is used in two splits",
        meta={"advice": "the model may know these media; give the samples that use them one group"},
    )
    return run_suite(NAME, pd.DataFrame({"file": pairs["modality"] + " of " + first}), [unique])


def _check_labels(outline: pd.Series, splits: pd.Series, key: str) -> SuiteResult:
    """Compare the splits' labels.

    Args:
        outline: Of a target.
        splits: Of the same rows, in the same order.
        key: The target's.
    """
    import great_expectations.expectations as gxe

    labels = pd.DataFrame({key: outline.to_numpy(), SPLIT: splits.to_numpy()})
    shares = pd.crosstab(labels[key], labels[SPLIT], normalize="columns")
    shares = shares.reindex(columns=SPLITS, fill_value=0)
    gaps = shares.sub(shares["train"], axis=0).abs().sum() / 2
    known = set(labels.loc[labels[SPLIT] == "train", key])
    others = labels[labels[SPLIT] != "train"]
    strangers = others.loc[~others[key].isin(known), key]
    distribution = run_suite(
        NAME,
        pd.DataFrame({key: gaps.drop("train").to_numpy()}),
        [
            gxe.ExpectColumnMaxToBeBetween(
                column=key,
                max_value=DISTRIBUTION_GAP,
                severity="warning",
                description=f"the classes' shares in validation and test are those of training "
                f"(total variation at most {DISTRIBUTION_GAP})",
                meta={"advice": "with few or large groups another `seed` may split more evenly"},
            )
        ],
    )
    seen = run_suite(
        NAME,
        others,
        [
            gxe.ExpectColumnValuesToBeInSet(
                column=key,
                value_set=sorted(known),
                severity="warning",
                description=f"every class of {key} in validation and test occurs in training",
                meta={
                    "advice": f"no training row shows {_join(strangers)}, so the model cannot learn "
                    "it, and such labels count as unknown: collect more rows of it, merge it with "
                    "another class, or choose another `seed`"
                },
            )
        ],
    )
    return join_suites([distribution, seen])


def _join(names: pd.Series) -> str:
    """Quote the first few distinct names."""
    distinct = [repr(name) for name in names.drop_duplicates()]
    return ", ".join(distinct[:SHOWN_NAMES]) + (", …" if len(distinct) > SHOWN_NAMES else "")
