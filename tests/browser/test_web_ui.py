"""What a person does in the web UI, done in it: real server, real daemon, real stages, real browser."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("photograph"),
]

GROUPS = {
    "data": {"raw_data", "validated_words", "augmented_words"},
    "embeddings": {"left_lengths", "right_lengths"},
    "model": {"word_model"},
}
ON_DEMAND = {"hyperparameter_search", "drift_report"}  # which only their own jobs make
SWITCH = "label:has(input[type=checkbox])"


def open_graph(server, page):
    """Open the asset graph with every group unfolded, as its address is after so many clicks."""
    unfolded = ",".join(f"global@global:{group}" for group in GROUPS)
    page.goto(f"{server.url}/asset-groups?expanded={unfolded}")
    expect(node(page, "word_model")).to_be_visible()


def node(page, name):
    """The box of a group or an asset in the graph; it says the name, and then how it is."""
    return page.locator("svg foreignObject", has_text=re.compile(rf"^{name}(?![a-z_])")).first


def materialize_all(server, page, **params):
    """Press the button, with these parameters, and give the ids of earlier runs."""
    server.edit(**params)
    known = server.run_ids()
    page.goto(f"{server.url}/asset-groups")
    expect(node(page, "actions")).to_be_visible()
    page.get_by_role("button", name="Materialize all").click()
    return known


def test_the_asset_graph_shows_all_assets_in_their_groups(server, page):
    open_graph(server, page)
    nodes = server.ask("{assetNodes {groupName assetKey {path}}}")["assetNodes"]
    told = {(one["groupName"], one["assetKey"]["path"][-1]) for one in nodes}
    stages = {(group, asset) for group, assets in GROUPS.items() for asset in assets}
    assert {one for one in told if one[0] != "actions"} == stages
    assert {asset for group, asset in told if group == "actions"} >= ON_DEMAND
    for group, asset in stages:
        outer, inner = node(page, group).bounding_box(), node(page, asset).bounding_box()
        for at, size in (("x", "width"), ("y", "height")):
            assert outer[at] <= inner[at]
            assert inner[at] + inner[size] <= outer[at] + outer[size]


def test_materialize_all_runs_the_pipeline_and_ends_green(server, page):
    known = materialize_all(server, page)
    run = server.wait_for_run("SUCCESS", known)
    steps = {step["stepKey"]: step["status"] for step in server.steps(run)}
    assert set(steps.values()) == {"SUCCESS"}
    assert steps.keys() >= set.union(*GROUPS.values())
    assert not steps.keys() & ON_DEMAND
    page.goto(f"{server.url}/runs/{run}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    assert "up to date" in server.dvc("status")
    page.goto(f"{server.url}/assets/validated_words?view=overview")
    with page.expect_popup() as opened:
        page.get_by_role("link", name=re.compile("validate.html$")).first.click()
    expect(opened.value.get_by_role("heading", name="3 words")).to_be_visible()
    opened.value.close()


def test_a_failing_check_is_visible_and_blocks_what_comes_after(server, page):
    known = materialize_all(server, page, gate=0.1)
    run = server.wait_for_run("FAILURE", known)
    steps = {step["stepKey"]: step["status"] for step in server.steps(run)}
    after = GROUPS["embeddings"] | GROUPS["model"]
    assert steps["validated_words"] == "FAILURE"
    assert {steps.get(asset, "SKIPPED") for asset in after} == {"SKIPPED"}
    page.goto(f"{server.url}/assets/validated_words?view=checks")
    expect(page.get_by_text("rows_are_words").first).to_be_visible()
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    page.goto(f"{server.url}/runs/{run}")
    expect(page.get_by_text("Failure", exact=True).first).to_be_visible()


def test_metrics_are_plotted_after_two_runs(server, page):
    for factor in (2.0, 3.0):
        server.wait_for_run("SUCCESS", materialize_all(server, page, factor=factor))
    page.goto(f"{server.url}/assets/word_model?view=overview")
    page.get_by_role("button", name="Plots").click()
    expect(page.get_by_text("accuracy", exact=True).first).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible()
    shown = page.locator("canvas").evaluate_all("all => all.map(one => one.clientWidth)")
    assert min(shown) > 100


def test_terminate_stops_the_processes_of_the_stage(server, page):
    known = materialize_all(server, page, pause_s=300)
    server.wait_for(lambda: server.processes("steps.py train"), "process of stage train", 120)
    run = server.wait_for_run("STARTED", known)
    page.goto(f"{server.url}/runs/{run}")
    page.get_by_role("button", name="Terminate").click()
    page.get_by_role("dialog").get_by_role("button", name="Terminate").click()
    server.wait_for_run("CANCELED", known)
    server.wait_for(lambda: not server.processes("steps.py"), "end of the stage's processes")
    page.goto(f"{server.url}/runs/{run}")
    expect(page.get_by_text("Canceled", exact=True).first).to_be_visible()
    assert "up to date" not in server.dvc("status")


def test_a_schedule_is_switched_on_and_ticks(server, page):
    known = server.run_ids()
    page.goto(f"{server.url}/locations/orchestration.definitions/schedules/retraining")
    page.locator(SWITCH).click()
    try:
        expect(page.get_by_text("1 run requested").first).to_be_visible(timeout=100_000)
    finally:
        page.locator(SWITCH).first.click()
    server.wait_for_run("SUCCESS", known)
