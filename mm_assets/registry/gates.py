"""The conditions of a promotion. Each is judged whatever the others say."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mm_assets.contracts.config import Config
from mm_assets.contracts.errors import RegistryError
from mm_assets.contracts.subsets import name_subset
from mm_assets.data.table import ID
from mm_assets.evaluation.metrics import compare_paired
from mm_assets.evaluation.multiple_tests import adjust_holm
from mm_assets.evaluation.reliability import measure_reliability
from mm_assets.registry.record import GATES, Claim, Gate, Needed, Verdict
from mm_assets.registry.trial import AS_GIVEN, Pair, Trial

FIRST = "no champion yet"
CONSTANT = "no champion yet, so compared with the best constant answer"


def judge_gates(
    trial: Trial,
    config: Config,
    *,
    parity: dict[str, float],
    opponent: Verdict | None,
    predictions: pd.DataFrame,
) -> tuple[Gate, ...]:
    """Judge every gate.

    Args:
        trial: Both models' answers.
        config: `promotion`, `evaluation`, `export.tolerance` and `seed`.
        parity: What the export stage found: largest differences by name.
        opponent: What the champion's gates said when it was the candidate.
        predictions: Of the evaluate stage: by test row and target, the trained model's answer.
    """
    claims = {
        "candidate_is_not_worse": compare_targets(trial, config),
        "worst_subset_is_not_worse": compare_subsets(trial, config),
        "candidate_is_calibrated": compare_calibration(trial, config),
        "candidate_matches_pytorch": compare_with_pytorch(
            trial,
            parity,
            opponent,
            predictions,
            tolerance=config.export.tolerance,
        ),
        "candidate_is_fast_enough": compare_times(trial, slower_by=config.promotion.slower_by),
    }
    return tuple(
        Gate(name=name, description=text, claims=tuple(claims[name]))
        for name, text in GATES.items()
    )


def compare_targets(trial: Trial, config: Config) -> list[Claim]:
    """Compare the headline metric of every target, each row answered from what it has.

    A target fails where the candidate is worse by more than `promotion.worse_by`, or where it is
    worse and the paired test says that this is no chance.
    """
    promotion = config.promotion
    found = []
    for name in trial.candidate.targets:
        pair = trial.pair(name, AS_GIVEN)
        ours, theirs = pair.headlines()
        tested = _test(pair, trial, config)
        beyond = _is_worse(tested["difference"], tested["p_value"], alpha=promotion.alpha)
        note = (
            f"difference {tested['difference']:+.4f}, {config.evaluation.confidence:.0%} interval "
            f"{tested['difference_low']:+.4f} to {tested['difference_high']:+.4f}, p = "
            f"{tested['p_value']:.4f} on {tested['rows']} rows of {tested['groups']} groups"
            + (f"; worse beyond chance, p < {promotion.alpha:g}" if beyond else "")
        )
        threshold = theirs - promotion.worse_by
        found.append(
            Claim(
                about=f"{name}: {pair.target.headline}",
                candidate=ours,
                champion=theirs,
                needed="at least",
                threshold=threshold,
                passed=ours >= threshold and not beyond,
                note=note if trial.champion else f"{CONSTANT}; {note}",
            )
        )
    return found


def compare_subsets(trial: Trial, config: Config) -> list[Claim]:
    """Compare every subset of the modalities that both know, on rows that have all of it.

    A target fails where its worst subset is worse than the champion's worst by more than
    `promotion.subset_worse_by`; and where any subset is worse and the paired test, adjusted for
    their number, says that this is no chance, for a good subset may be lost while the worst stays.
    """
    promotion = config.promotion
    found = []
    for name, target in trial.candidate.targets.items():
        pairs = {subset: trial.pair(name, subset) for subset in trial.subsets}
        pairs = {s: pair for s, pair in pairs.items() if len(pair.rows) >= promotion.rows}
        about = f"{name}: {target.headline} of the worst subset"
        if not pairs:
            note = f"no subset has {promotion.rows} labelled rows, so none was compared"
            found.append(_unmeasured(about, "at least", note))
            continue
        scores = {subset: pair.headlines() for subset, pair in pairs.items()}
        ours = min(scores, key=lambda subset: scores[subset][0])
        theirs = min(scores, key=lambda subset: scores[subset][1])
        tests = [_test(pair, trial, config) for pair in pairs.values()]
        adjusted = adjust_holm([test["p_value"] for test in tests])
        lost = [
            f"{name_subset(subset)} fell from {scores[subset][1]:.4f} to {scores[subset][0]:.4f} "
            f"(p = {p:.4f} < {promotion.alpha:g})"
            for subset, test, p in zip(pairs, tests, adjusted, strict=True)
            if p is not None and _is_worse(test["difference"], p, alpha=promotion.alpha)
        ]
        threshold = scores[theirs][1] - promotion.subset_worse_by
        note = "; ".join(
            [
                *([] if trial.champion else [CONSTANT]),
                f"{name_subset(ours)} of the candidate, {name_subset(theirs)} of the champion"
                if trial.champion
                else name_subset(ours),
                f"{len(pairs)} of {len(trial.subsets)} subsets have {promotion.rows} rows",
                *lost,
            ]
        )
        found.append(
            Claim(
                about=about,
                candidate=scores[ours][0],
                champion=scores[theirs][1],
                needed="at least",
                threshold=threshold,
                passed=scores[ours][0] >= threshold and not lost,
                note=note,
            )
        )
    return found


def compare_calibration(trial: Trial, config: Config) -> list[Claim]:
    """Compare the expected calibration error, rows answered from what they have.

    It is never measured as 0: a perfectly calibrated model shows some by chance, more the fewer rows
    there are. So nothing is held against a candidate that shows no more than that.
    """
    found = []
    for name in trial.candidate.targets:
        pair = trial.pair(name, AS_GIVEN)
        about = f"{name}: expected calibration error"
        claims = [
            pair.target.confidences(pair.labels, answers) for answers in (pair.ours, pair.theirs)
        ]
        measured = [
            measure_reliability(
                sure,
                right,
                trial.groups[pair.rows].repeat(len(sure) // len(pair.rows)),
                resamples=config.evaluation.bootstrap,
                level=config.evaluation.confidence,
                seed=config.seed,
            )
            for sure, right in filter(None, claims)
        ]
        if not measured:
            found.append(_unmeasured(about, "at most", "its answers are no probabilities"))
            continue
        ours, theirs = measured
        if trial.champion is None:
            found.append(_unmeasured(about, "at most", FIRST, candidate=ours["ece"]))
            continue
        chance = ours["ece_if_calibrated"]
        threshold = max(theirs["ece"], chance) + config.promotion.miscalibrated_by
        found.append(
            Claim(
                about=about,
                candidate=ours["ece"],
                champion=theirs["ece"],
                needed="at most",
                threshold=threshold,
                passed=ours["ece"] <= threshold,
                note=f"{chance:.4f} is to be expected of a calibrated model on so few rows",
            )
        )
    return found


def compare_with_pytorch(
    trial: Trial,
    parity: dict[str, float],
    opponent: Verdict | None,
    predictions: pd.DataFrame,
    *,
    tolerance: float,
) -> list[Claim]:
    """Compare the exported model with the trained one: on what `export` tried, and on test rows.

    The second would also tell an exported model from the evaluation of another.

    Raises:
        RegistryError: The evaluate stage has not answered a row that is in the test split now.
    """
    measured = {f"export: {name}": value for name, value in parity.items()}
    others = {
        claim.about: claim.candidate
        for gate in (opponent.gates if opponent else ())
        for claim in gate.claims
    }
    for name, target in trial.candidate.targets.items():
        pair = trial.pair(name, AS_GIVEN)
        told = predictions[predictions["target"] == name].set_index(ID)["probabilities"]
        ids = trial.rows[ID].iloc[pair.rows]
        if absent := sorted(set(ids) - set(told.index)):
            raise RegistryError(
                f"artifacts/evaluation has no answer to test row {absent[0]!r} (and "
                f"{len(absent) - 1} more), so it is of another run than artifacts/augmented; run "
                "`dvc repro`"
            )
        gap = np.abs(pair.ours - np.stack(told.loc[ids].to_list())).max() / target.unit
        measured[f"{name}: largest difference from what was evaluated"] = float(gap)
    return [
        Claim(
            about=what,
            candidate=value,
            champion=others.get(what),
            needed="at most",
            threshold=tolerance,
            passed=value <= tolerance,
        )
        for what, value in measured.items()
    ]


def compare_times(trial: Trial, *, slower_by: float) -> list[Claim]:
    """Compare the time that one row takes."""
    about = "median milliseconds a row"
    if trial.milliseconds is None:
        return [_unmeasured(about, "at most", FIRST)]
    ours, theirs = trial.milliseconds
    threshold = theirs * slower_by
    return [
        Claim(
            about=about,
            candidate=ours,
            champion=theirs,
            needed="at most",
            threshold=threshold,
            passed=ours <= threshold,
            note="both asked in turns",
        )
    ]


def _test(pair: Pair, trial: Trial, config: Config) -> dict[str, float | int]:
    return compare_paired(
        pair.target,
        pair.first,
        pair.second,
        trial.groups[pair.rows],
        resamples=config.evaluation.bootstrap,
        confidence=config.evaluation.confidence,
        seed=config.seed,
    )


def _is_worse(difference: float, p_value: float, *, alpha: float) -> bool:
    return difference < 0 and p_value < alpha


def _unmeasured(about: str, needed: Needed, note: str, *, candidate: float | None = None) -> Claim:
    return Claim(
        about=about,
        candidate=candidate,
        champion=None,
        needed=needed,
        threshold=None,
        passed=True,
        note=note,
    )
