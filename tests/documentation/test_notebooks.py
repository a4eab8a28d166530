"""The notebooks of `examples/`: as stored, and executed anew."""

import base64
import builtins
import io
import json
import re
import time

import notebooks
import numpy as np
import pytest
from PIL import Image

import keras_se

# Seconds on two cores, and bytes.
LONGEST, LARGEST = 180, 1_000_000
# What would tell of the machine, or is there by mistake.
UNWANTED = {
    "path": re.compile(r"(?<![\w.:/])/(home|root|Users|tmp|usr|var|opt|mnt|private)/|\b[A-Z]:\\"),
    "warning": re.compile(r"warning|deprecated|Traceback", re.IGNORECASE),
    "terminal": re.compile(r"[\x00-\x08\x0b-\x1f\x7f]"),
}
# What the text of a notebook says, of the variables at its end.
CHECKS = {
    "01_transfer_learning": """
assert 0.3 < accuracy["new head"] < 0.6
assert 0.83 < accuracy["fine-tuned"] < 0.91
assert accuracy["fine-tuned"] > accuracy["from scratch"] + 0.03
assert head_loss[-1] > 0.5 > 0.02 > max(fine_loss[-1], scratch_loss[-1])
assert written.difference < 1e-5
ids = [np.flatnonzero(test_labels == n)[0] for n in range(10)]
best = np.sort(model.predict(test_pictures[ids], verbose=0))[:, ::-1][:, :3]
np.testing.assert_allclose(answer["scores"], best, atol=0.02)
""",
    "02_what_se_learns": """
assert difference < 1e-6
rows = {block.label: block for block in summary.blocks}
assert max(rows["SE_2_1"].between, rows["SE_2_2"].between) < 0.0031
assert 0.018 < rows["SE_2_3"].between < 0.020
assert 4.2 < rows["SE_2_3"].ratio < 4.4
quiet = [rows[label] for label in ("SE_3_1", "SE_3_2", "SE_3_3", "SE_4_1")]
assert max(max(row.between, row.within) for row in quiet) < 0.00125
assert max(row.between for row in rows.values()) == rows["SE_4_3"].between
assert max(row.ratio for row in rows.values()) == rows["SE_4_3"].ratio
assert max(row.high for row in rows.values()) < 0.001
means = np.concatenate([mean.ravel() for mean in found.mean.values()])
assert 0.35 < means.min() < means.max() < 0.83
assert 0.6 > lost["all"]
assert small_found.summary().blocks[-1].mean > 0.97
assert small_lost["SE_4_1"] < 0.15
assert small_lost["all"] > lost["all"]
""",
    "03_add_se_to_your_cnn": """
assert same and same_mobile
assert min(map(min, reached.values())) > before
assert abs(gains).max() < 0.01
assert 0.09 < cost.se_params / cost.params_total < 0.11
assert 0.01 < cost.se_macs / cost.macs < 0.015
first, second, third = (abs(np.median(s, axis=0) - 0.5).mean() for s in gates(test_pictures[:1000]))
assert third > 2 * max(first, second)
""",
    "04_deploy": """
assert not fused.fusion.left and not fused.fusion.done["squeeze"]
assert difference < 1e-5 and written.difference < 1e-5
assert answer["labels"][0, 0] == b"Ankle_boot"
assert [bool(error) for error in answer["error"]] == [False] * 3 + [True]
assert process.stdout.endswith("keras_se was imported: False\\n")
for title, value in accuracy.items():
    assert abs(value - accuracy["Keras"]) < (0.01 if "8 bits" in title else 0.001), title
assert sizes["LiteRT, 8 bits"] < sizes["LiteRT"] / 3
assert sizes["OpenVINO, 8 bits"] < sizes["OpenVINO"] / 2
assert len(runtimes) == 8
""",
    "05_segmentation": """
assert history["loss"][-1] < 0.3 * history["loss"][0]
assert 0.6 < mean_iou < 0.85 and iou["background"] > 0.95
assert accuracy > 0.94 and min(iou.values()) > 0.4
assert answer.shape == (1, 64, 101, 5) and same and written.difference < 1e-4
""",
    "06_signals_and_volumes": """
assert signal_accuracy > 0.93 and maps.shape == (4, 150)
assert history["loss"][-1] < 0.6 * history["loss"][0] and clip_accuracy > 0.6
assert difference["centre"] < 1e-5 and difference["average"] > 0.1
""",
}


def kinds(output):
    """Kind of an output, with the types of its data: the text is there beside every picture."""
    return output["output_type"], output.get("name"), sorted(output.get("data", ()))


def code(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def texts(notebook):
    """Everything that the outputs say."""
    for cell in code(notebook):
        for output in cell["outputs"]:
            data = output.get("data", {})
            for text in (output.get("text", ""), data.get("text/plain", "")):
                yield "".join(text)


def pictures(notebook):
    for cell in code(notebook):
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                yield "".join(output["data"]["image/png"])


@pytest.fixture(params=notebooks.NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def stored(path):
    return json.loads(path.read_text("utf-8"))


def test_all_notebooks_are_checked():
    assert [path.stem for path in notebooks.NOTEBOOKS] == list(CHECKS)


def test_format(path, stored):
    assert (stored["nbformat"], stored["nbformat_minor"]) == (4, 5)
    assert stored["metadata"]["kernelspec"]["name"] == "python3"
    identifiers = [cell["id"] for cell in stored["cells"]]
    assert len(set(identifiers)) == len(identifiers)
    assert path.stat().st_size < LARGEST


def test_executed_from_top_to_bottom(stored):
    counts = [cell["execution_count"] for cell in code(stored)]
    assert counts == [*range(1, len(counts) + 1)]


def test_outputs_are_for_readers(stored):
    for cell in code(stored):
        for output in cell["outputs"]:
            assert output["output_type"] in ("stream", "display_data")
            assert output.get("name") != "stderr"
    for text in texts(stored):
        for what, pattern in UNWANTED.items():
            assert not pattern.search(text), what


def test_pictures(stored):
    found = list(pictures(stored))
    assert len(found) >= 2
    for picture in found:
        with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
            image.load()
            assert image.width >= 400


def test_tables_are_text_in_a_notebook(monkeypatch, capsys):
    """Where Rich would display them instead, and in colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    shell = type("ZMQInteractiveShell", (), {})
    monkeypatch.setattr(builtins, "get_ipython", shell, raising=False)
    model = keras_se.SEResNet20(weights=None)
    gates = keras_se.excitations(model, np.zeros((10, 32, 32, 3)), range(10))
    tables = {
        "stage2_block1_se": keras_se.cost(model),
        "SE_2_1": gates.summary(),
        "fold": keras_se.fuse(model).fusion,
        "stem_conv": keras_se.prune(model, gates).pruning,
    }
    for word, table in tables.items():
        assert word in str(table)
        assert "\x1b" not in str(table)
    assert not capsys.readouterr().out


@pytest.mark.notebooks
def test_executes(path, stored, tmp_path):
    import nbformat

    nbformat.validate(nbformat.from_dict(stored))
    start = time.monotonic()
    executed = notebooks.execute(path, tmp_path, CHECKS[path.stem])
    assert time.monotonic() - start < LONGEST
    # Nothing is left in the folder that a reader did not ask for.
    assert not list(tmp_path.iterdir())
    for new, old in zip(code(executed), code(stored), strict=True):
        assert [kinds(x) for x in new["outputs"]] == [kinds(x) for x in old["outputs"]], new["id"]
