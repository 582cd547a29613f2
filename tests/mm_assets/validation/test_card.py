import pytest

from mm_assets.validation.card import check_card

WHOLE = {"sections": ["data", "model"], "reports": ["train"], "resources": ["data:image/png;x"]}


def check(**changes):
    return check_card(
        **{**WHOLE, **changes}, needed_sections=["model", "data"], needed_reports=["train"]
    )


def test_a_whole_page_passes():
    suite = check()
    assert suite.name == "card_is_complete"
    assert suite.passed
    assert check(resources=[]).passed


@pytest.mark.parametrize(
    ("change", "expected", "observed"),
    [
        ({"sections": ["data"]}, "no section is missing", "missing: model"),
        ({"reports": []}, "no report is missing", "missing: train"),
        (
            {"resources": ["data:x", "https://cdn.example/x.js"]},
            "the page loads nothing from elsewhere",
            "1 of 2 unexpected (50.0 %): https://cdn.example/x.js",
        ),
    ],
)
def test_what_is_missing_or_loaded_blocks(change, expected, observed):
    suite = check(**change)
    assert suite.blocks
    assert [(r.expected, r.observed) for r in suite.failed] == [(expected, observed)]
