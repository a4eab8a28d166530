"""The report of the excitations, opened in Chromium."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from reference import noise_pictures

import keras_se

pytestmark = pytest.mark.browser

MOST_BYTES = 5e6
# Width and height of a window, in CSS pixels.
WINDOWS = {"desktop": (1280, 900), "phone": (390, 844)}
OPEN = "document.querySelectorAll('details').forEach(part => part.open = true)"
# What sticks out of the window, unless it is in a part that scrolls by itself.
OVERFLOW = """() => [...document.querySelectorAll('body *')].filter(
    element => !element.closest('.scroll, .unseen') &&
        element.getBoundingClientRect().right > innerWidth + 0.5
).map(element => element.outerHTML.slice(0, 80))"""
IMAGES = "() => [...document.images].every(image => image.complete && image.naturalWidth > 0)"
# Text on what is behind it, as relative luminances (WCAG 2.2).
CONTRASTS = """() => {
    const luminance = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number).map(
        value => value / 255 <= 0.04045 ? value / 255 / 12.92
            : ((value / 255 + 0.055) / 1.055) ** 2.4
    ).reduce((sum, value, n) => sum + value * [0.2126, 0.7152, 0.0722][n], 0);
    const behind = element => {
        const colour = getComputedStyle(element).backgroundColor;
        return colour.endsWith(', 0)') ? behind(element.parentElement) : colour;
    };
    return [...document.querySelectorAll('body *')].filter(
        element => [...element.childNodes].some(node => node.nodeType == 3 && node.data.trim())
    ).map(element => {
        const [low, high] = [getComputedStyle(element).color, behind(element)].map(
            luminance).sort((a, b) => a - b);
        return [(high + 0.05) / (low + 0.05), element.outerHTML.slice(0, 80)];
    });
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Of the bundled network, with names of classes that are hard to fit in."""
    path = tmp_path_factory.mktemp("report") / "page.html"
    names = [f"class {n}" for n in range(7)]
    names += ["Antidisestablishmentarianism" * 2, "a name of many words " * 3, "<b>"]
    model = keras_se.SEResNet20(weights="fashion_mnist")
    found = keras_se.excitations(
        model, noise_pictures(60, 28, 28, 1), np.arange(60) % 10, class_names=names
    )
    found.report(path, model, [0, 7, 8, 9], title="a_long_name_of_a_network.and_of_its_data_set")
    return path


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    assert path, "Chromium must be on PATH: apt-get install chromium"
    with sync_playwright() as playwright:
        # The page is the test's own, and containers have no user for the sandbox.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("window", WINDOWS)
def test_report(window, scheme, page, browser, tmp_path):
    width, height = WINDOWS[window]
    tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    said, asked, failed = [], [], []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("requestfailed", lambda request: failed.append(request.url))
    tab.goto(page.as_uri())
    for opened in (False, True):
        if opened:
            tab.evaluate(OPEN)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate(OVERFLOW) == []
    assert tab.evaluate(IMAGES)
    contrasts = tab.evaluate(CONTRASTS)
    assert len(contrasts) > 100
    # WCAG's level AA of small text.
    assert [text for contrast, text in contrasts if contrast < 4.5] == []
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert (said, failed) == ([], [])
    assert Path(page).stat().st_size < MOST_BYTES
    tab.screenshot(path=tmp_path / "page.png", full_page=True)
    tab.close()


def test_overflow_and_errors_would_be_seen(browser, tmp_path):
    """What the test above looks for, on a page that has it."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<p style='width: 2000px; color: #999'>wide and pale</p>"
        "<img src='absent.png'><script>console.error('loud')</script>"
    )
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    said, failed = [], []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("requestfailed", lambda request: failed.append(request.url))
    tab.goto(bad.as_uri())
    assert len(tab.evaluate(OVERFLOW)) == 1
    assert not tab.evaluate(IMAGES)
    assert "loud" in said
    assert len(failed) == 1
    tab.evaluate("document.body.style.background = '#fff'")
    assert tab.evaluate(CONTRASTS)[0][0] < 4.5
    tab.close()
