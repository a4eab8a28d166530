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
    assert report.page(report.results.read(), report.step_times()) == report.PAGE.read_text("utf-8")


def test_every_row_is_a_run_or_a_bundled_set(report):
    known = {(name, str(seed), str(report.RECIPE["epochs"])) for name, seed, _ in report.runs()}
    rows = report.results.read()
    assert {(row["name"], row["seed"], row["epochs"]) for row in rows if row["seed"]} <= known
    assert len({(row["name"], row["seed"]) for row in rows}) == len(rows)


def test_runs_of_a_pair_differ_in_nothing_but_se(report):
    runs = {(name, seed): settings for name, seed, settings in report.runs()}
    assert len(runs) == len(list(report.runs()))
    for name, (_, _, seeds) in report.NETWORKS.items():
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
