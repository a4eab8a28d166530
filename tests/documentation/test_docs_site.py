"""The site that `tox -e docs` has built: links, what a browser fetches, the public names."""

import functools
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from places import ROOT

import keras_se

pytestmark = pytest.mark.docs
SITE = ROOT / "build" / "docs"
# What a browser fetches by itself, by element.
FETCHED = {"script": "src", "img": "src", "link": "href", "source": "src", "iframe": "src"}
UNFETCHED_LINKS = {"index", "search", "next", "prev", "author", "canonical"}


class Page(HTMLParser):
    """What a page links to, fetches, and has as anchors."""

    def __init__(self, path):
        super().__init__()
        self.links, self.fetched, self.anchors = [], [], set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag == "link" and values.get("rel") in UNFETCHED_LINKS:
            self.links.append(values["href"])
        elif values.get(FETCHED.get(tag)):
            self.fetched.append(values[FETCHED[tag]])


@functools.cache
def page(path):
    return Page(path)


@pytest.fixture(scope="module")
def site():
    found = {
        path: page(path) for path in sorted(SITE.rglob("*.html")) if "_static" not in path.parts
    }
    assert len(found) > 60, "sphinx-build -W -n docs build/docs"
    return found


def test_links_lead_somewhere(site):
    broken = []
    for path, content in site.items():
        for link in [*content.links, *content.fetched]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            missing = anchor and target in site and anchor not in site[target].anchors
            if not target.is_file() or missing:
                broken.append(f"{path.relative_to(SITE)}: {link}")
    assert broken == []


def test_nothing_is_fetched_from_elsewhere(site):
    for path, content in site.items():
        outside = [x for x in content.fetched if urlsplit(x).netloc]
        assert outside == [], path
    for path in SITE.rglob("*.css"):
        imports = re.findall(
            r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")]+)", path.read_text("utf-8")
        )
        assert imports == [], path


def test_every_public_name_is_described(site):
    anchors = set().union(*(content.anchors for content in site.values()))
    missing = {f"keras_se.{name}" for name in keras_se.__all__} - anchors
    assert missing == {"keras_se.layers", "keras_se.models"}
