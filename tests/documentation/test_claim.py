"""The page about the claim says what the runs' figures say."""

import importlib
import sys

import pytest
from places import PRETRAINED


@pytest.fixture(scope="module")
def report():
    sys.path.insert(0, str(PRETRAINED))
    try:
        module = importlib.import_module("claim_report")
    finally:
        sys.path.pop(0)
    return module


def test_page_is_that_of_the_results(report):
    page = report.page(report.RESULTS.read(), report.CURVES.read(), report.step_times())
    assert page == report.PAGE.read_text("utf-8")


def test_every_row_is_a_run_or_a_bundled_set(report):
    known = {(name, str(seed)) for name, seed, _ in report.runs()}
    rows = [row for row in report.RESULTS.read() if row["seed"]]
    assert {(row["name"], row["seed"]) for row in rows if report.is_of_study(row)} <= known
    # An earlier study's rows stay.
    assert {row["epochs"] for row in rows} <= {str(report.RECIPE["epochs"]), "3"}
    assert len({(row["name"], row["seed"], row["epochs"]) for row in rows}) == len(rows)


def test_every_run_has_its_curve(report):
    rows = {
        (row["name"], row["seed"]): row for row in report.RESULTS.read() if report.is_of_study(row)
    }
    curves = {}
    for row in report.CURVES.read():
        curves.setdefault((row["name"], row["seed"]), []).append(row)
    assert curves.keys() == rows.keys()
    for run, epochs in curves.items():
        assert [int(row["epoch"]) for row in epochs] == [*range(1, report.RECIPE["epochs"] + 1)]
        assert epochs[-1]["validation_top1"] == rows[run]["validation_top1"]


def test_runs_of_a_pair_differ_in_nothing_but_se(report):
    runs = {(name, seed): settings for name, seed, settings in report.runs()}
    assert len(runs) == len(list(report.runs()))
    for name, (_, _, seeds) in importlib.import_module("claim").NETWORKS.items():
        for seed in range(seeds):
            one, other = runs[f"{name}_se", seed], runs[f"{name}_plain", seed]
            assert {**one, "se": None} == other


@pytest.mark.parametrize(
    ("plain", "se", "mean", "verdict"),
    [
        ([10.0, 11.0, 12.0], [9.0, 10.0, 10.9], "1.03", "better"),
        ([10.0, 11.0, 12.0], [9.5, 9.8, 11.6], "0.70", "no clear difference"),
        ([9.0, 10.0, 10.9], [10.0, 11.0, 12.0], "-1.03", "worse"),
        ([9.0, 10.0, 11.0], [10.0, 9.0, 11.5], "-0.17", "no clear difference"),
        ([10.0, 11.0], [9.0, 10.0], "1.00", "too few seeds"),
    ],
)
def test_gain(report, plain, se, mean, verdict):
    one, other = (
        {seed: {"top1": str(1 - error / 100)} for seed, error in enumerate(errors)}
        for errors in (plain, se)
    )
    improvement, seen = report.gain(one, other)
    assert improvement.split(" ")[0] == mean
    assert seen == verdict
