"""Reports on disk, side by side, and drawn."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from command_line import Run, assert_mistake
from PIL import Image

from keras_se.benchmarking import chart, comparison
from keras_se.benchmarking.report import Line, Report, read


def line(network: str, median: float = 2.0, **changes: Any) -> Line:
    fields = {
        "runtime": "onnx", "precision": "float32", "pictures": (1, 224, 224, 3), "threads": 2,
        "size": None, "median": median, "low": 0.9 * median, "high": 1.2 * median,
        "pictures_per_second": 1000 / median, "ratio": 1.0,
        "milliseconds": (0.9 * median, median, 1.2 * median),
    }  # fmt: skip
    return Line(network, **fields | changes)


REPORT = Report(
    {"processor": "P", "cores": 2, "Python": "3.11", "rounds": 3, "fused": "yes"},
    (line("Net without SE"), line("Net", 3.0, ratio=1.5), line("Net", 5.0, threads=1)),
    ("keras in int8",),
)


def test_round_trip(tmp_path: Path) -> None:
    REPORT.write(tmp_path / "a.json")
    assert read(tmp_path / "a.json") == REPORT
    assert [*tmp_path.iterdir()] == [tmp_path / "a.json"]


def test_ratios_within_a_setting() -> None:
    twin, network, other = REPORT.lines
    assert REPORT.settings() == [[twin, network], [other]]
    assert network.ratio_to(twin) == pytest.approx(1.5)
    assert REPORT.to_plain(network) == pytest.approx(1.5)
    assert REPORT.to_plain(twin) is None
    assert REPORT.to_plain(other) is None


def test_report_of_a_run(run: Run, tmp_path: Path) -> None:
    out, plot = tmp_path / "a.json", tmp_path / "a.png"
    options = ("--runtime", "keras", "--size", 28, "--rounds", 2, "--out", out, "--plot", plot)
    code, printed, err = run("benchmark", "SEResNet20", *options, "--json")
    assert code == 0, err
    report = read(out)
    assert json.loads(json.dumps(asdict(report))) == json.loads(printed)
    assert {"date", "processor", "rounds", "fused", "threads"} <= report.conditions.keys()
    assert Image.open(plot).size[0] > 500
    code, compared, _ = run("benchmark", "--compare", out, out)
    assert code == 0
    assert "SEResNet20" in compared


def test_side_by_side(run: Run, tmp_path: Path) -> None:
    other = replace(
        REPORT,
        conditions={"processor": "Q", "cores": 8},
        lines=(line("Net without SE", 1.0), line("Net", 1.0), line("Peer", 7.0, precision="own")),
        skipped=(),
    )
    REPORT.write(tmp_path / "a.json")
    other.write(tmp_path / "b.json")
    rows = comparison.rows(REPORT, other)
    assert [(row.network, row.threads) for row in rows] == [
        ("Net without SE", 2), ("Net", 2), ("Net", 1), ("Peer", 2),
    ]  # fmt: skip
    assert rows[2].second is None
    assert rows[3].first is None
    code, out, err = run("benchmark", "--compare", tmp_path / "a.json", tmp_path / "b.json")
    assert (code, err) == (0, "")
    table, conditions = (part.splitlines() for part in out.split("\n\n"))
    assert [row.split() for row in table[2:]] == [
        ["Net", "onnx", "float32", "1x224x224x3", "2", "3.00", "1.50", "1.00", "1.00"],
        ["Net", "onnx", "float32", "1x224x224x3", "1", "5.00", "1.00"],
        ["Peer", "onnx", "own", "1x224x224x3", "2", "7.00", "1.00"],
    ]
    # The blank is in the columns of the file that lacks the row.
    assert table[4].index("7.00") > table[3].index("5.00")
    found = {row.split()[0]: row.split()[1:] for row in conditions}
    assert found["processor"] == ["P", "Q"]
    assert found["rounds"] == ["3"]
    assert found["skipped"] == ["keras", "in", "int8"]
    code, out, _ = run("benchmark", "--compare", tmp_path / "a.json", tmp_path / "b.json", "--json")
    assert [row["first"] is None for row in json.loads(out)["rows"]] == [False, False, False, True]


@pytest.mark.parametrize("change", [
    lambda report: "no JSON",
    lambda report: "[1]",
    lambda report: "[" * 100_000,
    lambda report: {"rows": []},
    lambda report: report | {"lines": []},
    lambda report: report | {"lines": [{"network": "Net"}]},
    lambda report: report | {"lines": [1]},
    lambda report: report | {"more": 1},
    lambda report: report | {"conditions": ["P"]},
    lambda report: report | {"lines": [report["lines"][0] | {"median": "2"}]},
    lambda report: report | {"lines": [report["lines"][0] | {"pictures": "1x2"}]},
    lambda report: report | {"lines": [report["lines"][0] | {"size": [1]}]},
])  # fmt: skip
def test_files_that_are_no_reports(run: Run, tmp_path: Path, change: Any) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    REPORT.write(good)
    changed = change(json.loads(good.read_text("utf-8")))
    bad.write_text(changed if isinstance(changed, str) else json.dumps(changed), "utf-8")
    assert_mistake(run("benchmark", "--compare", good, bad), "bad.json", "expected a report")


def test_mistakes(run: Run, tmp_path: Path) -> None:
    REPORT.write(tmp_path / "a.json")
    both = (tmp_path / "a.json",) * 2
    assert_mistake(run("benchmark", "--compare", tmp_path / "a.json", tmp_path / "b"), "b")
    assert_mistake(run("benchmark", "SEResNet20", "--compare", *both), "`--compare`", "whats")
    assert_mistake(run("benchmark", "--rounds", 3, "--compare", *both), "`--compare`", "rounds=3")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert_mistake(run("benchmark", "--compare", *[tmp_path / "binary"] * 2), "expected a report")


def test_many_networks_are_told_apart(tmp_path: Path) -> None:
    names = [f"Net{n}" for n in range(8)]
    styles = [tuple(chart._style(n).values()) for n in range(len(names))]
    assert len(set(styles)) == len(names)
    chart.plot(replace(REPORT, lines=tuple(map(line, names))), tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size > 1000


def test_without_matplotlib(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "matplotlib" else object()
    )
    result = run("benchmark", "SEResNet20", "--plot", "a.png")
    assert_mistake(result, "Matplotlib", "pip install 'keras-se[train]'")
