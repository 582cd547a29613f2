"""Plots and metrics that DVC declares."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import PurePosixPath

import dagster as dg
import pytest

from orchestration.components.evidence import (
    MAX_PICTURE_BYTES,
    describe_metrics,
    describe_plots,
)
from orchestration.dvc_declared import DeclaredPlot, Series
from orchestration.dvc_project import Record
from orchestration.dvc_stages import DagsterMeta, Stage

STAGE = Stage(
    target="train",
    asset="model",
    description="",
    is_source=False,
    deps=(),
    outs=(PurePosixPath("out"),),
    definition="d",
    report=None,
    meta=DagsterMeta(),
)


def record(tmp_path, **files):
    """Keep files as DVC's cache does: under names that tell no type."""
    evidence = {}
    for at, (name, content) in enumerate(files.items()):
        file = tmp_path / f"object{at}"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        evidence[PurePosixPath(name)] = file
    return Record(up_to_date=True, version="v", report=None, size={}, evidence=evidence)


def metrics(tmp_path, **files):
    kept = record(tmp_path, **files)
    return describe_metrics(replace(STAGE, metrics=tuple(kept.evidence)), kept)


def plots(tmp_path, plot, **files):
    return describe_plots(tmp_path, replace(STAGE, plots=(plot,)), record(tmp_path, **files))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.json", '{"a": {"b": 1.5, "c": [true]}}'),
        ("m.yaml", "a: {b: 1.5, c: [true]}"),
        ("m.toml", "[a]\nb = 1.5\nc = [true]"),
    ],
)
def test_metrics_of_every_format_are_the_same_numbers(tmp_path, name, text):
    found = metrics(tmp_path, **{name: text})
    assert found == {
        "a.b": dg.MetadataValue.float(1.5),
        "a.c": dg.MetadataValue.text("[true]"),
    }


def test_what_is_no_number_is_not_made_one(tmp_path):
    found = metrics(tmp_path, **{"m.json": '{"a": NaN, "b": Infinity, "c": null, "d": "0.5"}'})
    texts = {"a": "NaN", "b": "Infinity", "c": "null", "d": "0.5"}
    assert found == {name: dg.MetadataValue.text(text) for name, text in texts.items()}


def test_a_damaged_metrics_file_says_so_in_its_place(tmp_path):
    found = metrics(tmp_path, **{"m.json": "{", "good.json": '{"a": 1}'})
    assert found["m.json"].value.startswith("m.json cannot be read")
    assert found["good.a"] == dg.MetadataValue.int(1)


def read_svg(svg):
    """Give the texts of a picture, and the number of points of each of its lines."""
    picture = ET.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in picture.iter(f"{space}text")]
    lines = [
        path.get("d").count("L") + 1
        for group in picture.iter(f"{space}g")
        if (group.get("id") or "").startswith("line2d")
        for path in group.findall(f"{space}path")
        if group.get("clip-path") or path.get("clip-path")
    ]
    return texts, lines


LINES = DeclaredPlot("p", (Series(PurePosixPath("p.csv"), "step", "up"),))


def decode(value):
    import base64

    return base64.b64decode(value.value.partition("base64,")[2].rstrip(")"))


def test_a_line_has_a_point_for_each_row_and_the_columns_names(tmp_path):
    found = plots(tmp_path, LINES, **{"p.csv": "step,up\n0,1\n1,3\n2,2\n"})
    texts, lines = read_svg(decode(found["p"]))
    assert {"step", "up"} <= set(texts)
    assert lines == [3]
    again = plots(tmp_path, LINES, **{"p.csv": "step,up\n0,1\n1,3\n2,2\n"})
    assert found == again


def test_without_columns_named_the_last_is_drawn_over_row_numbers(tmp_path):
    plot = DeclaredPlot("p", (Series(PurePosixPath("p.json")),))
    rows = json.dumps({"about": "x", "points": [{"a": "q", "z": 1}, {"a": "r", "z": 2}]})
    texts, lines = read_svg(decode(plots(tmp_path, plot, **{"p.json": rows})["p"]))
    assert {"step", "z"} <= set(texts)
    assert lines == [2]


def test_a_long_curve_is_thinned_and_stays_small(tmp_path):
    rows = "step,up\n" + "".join(f"{at},{at % 7}.123456\n" for at in range(100_000))
    found = plots(tmp_path, LINES, **{"p.csv": rows})
    assert len(decode(found["p"])) < 60_000


def test_bars_are_named_and_a_confusion_matrix_counts_pairs(tmp_path):
    table = "said,is\nyes,yes\nno,yes\nno,yes\n"
    plot = replace(
        LINES, template="confusion", series=(Series(PurePosixPath("p.csv"), "said", "is"),)
    )
    texts, _ = read_svg(decode(plots(tmp_path, plot, **{"p.csv": table})["p"]))
    assert {"1", "2", "yes", "no", "said", "is"} <= set(texts)
    bars = replace(plot, template="bar_horizontal", x_label="share of rows")
    bars = replace(bars, series=(Series(PurePosixPath("p.csv"), "share", "name"),))
    texts, _ = read_svg(decode(plots(tmp_path, bars, **{"p.csv": "name,share\nfirst,0.5\n"})["p"]))
    assert {"first", "share of rows"} <= set(texts)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"p.csv": "step,down\n0,1\n"}, r"p.csv has no column 'up', .*; it has step, down"),
        ({"p.csv": "step,up\n"}, "p.csv has no column 'step', .*; it has no rows"),
        (
            {"p.csv": "step,up\n0,high\n"},
            "column 'up' is drawn along y and must hold numbers, but has 'high'",
        ),
        ({"p.csv": b"\xff\xfe\x00"}, "p.csv cannot be read"),
        ({"p.csv": "step,up\n0," + "9" * 200_000}, "p.csv cannot be read: field larger than"),
    ],
)
def test_a_plot_that_cannot_be_drawn_says_why(tmp_path, files, message):
    import re

    [found] = plots(tmp_path, LINES, **files).values()
    assert re.match(message, found.value)


def test_a_picture_too_large_for_the_database_is_its_path(tmp_path):
    plot = DeclaredPlot("p", (Series(PurePosixPath("out/p.png")),))
    found = plots(tmp_path, plot, **{"out/p.png": bytes(MAX_PICTURE_BYTES + 1)})
    assert found["p"] == dg.MetadataValue.path(tmp_path / "out/p.png")


def test_drawing_needs_no_display_and_leaves_pyplot_alone(tmp_path):
    import sys

    sys.modules.pop("matplotlib.pyplot", None)
    plots(tmp_path, LINES, **{"p.csv": "step,up\n0,1\n"})
    assert "matplotlib.pyplot" not in sys.modules
