"""What retraining promotes, a person may take back."""

import dagster as dg
import pytest

from mm_assets.registry.promotion import roll_back
from mm_assets.registry.record import read_registry

pytestmark = pytest.mark.slow


def test_a_person_rolls_back_what_retraining_promoted_and_retraining_hears_of_it(retrained):
    good = retrained.served.name
    retrained.put("better")
    better = retrained.begin().work().promote().name
    assert retrained.served.name == better != good

    assert roll_back(retrained.root, reason="complaints").champion == good
    assert retrained.served == retrained.workspace.registry / "models" / good
    again = retrained.begin().work().promote()
    assert retrained.log()[0] == "retrain: what a run decided that was cut short"
    assert (again.what, again.name, again.champion) == ("taken back", better, good)
    assert read_registry(retrained.tree.registry).champion == good
    assert retrained.served.name == good


def test_no_candidate_fails_the_champion_with_its_reason(project, dagster):
    result = project.launch(dagster.instance, asset_selection=[dg.AssetKey("champion")])
    assert not result.success
    [failed] = [event for event in result.all_events if event.is_step_failure]
    assert "evaluate" in failed.step_failure_data.user_failure_data.description
