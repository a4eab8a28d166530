"""Ask publishers' servers for one file each, without downloading it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import requests

from keras_se.checks import readable
from keras_se.weights.cache import most_bytes
from keras_se.weights.download import checked_answers, reason, stated_hash
from keras_se.weights.entries import Weights
from keras_se.weights.locations import address

# Timeouts in seconds: to connect, and between two parts of an answer.
TIMEOUT = (5, 10)
# For all servers together, which are asked at once; one may send a byte now and then.
DEADLINE = 30
# A server may not know HEAD, or refuse it; then the first kilobytes are requested.
REQUESTS = (("HEAD", None), ("GET", "bytes=0-2047"))
# Hugging Face's size of a large file, sent before it redirects to the file.
LINKED_SIZE = "x-linked-size"
# Statuses of an answer with the file.
GOOD = (200, 206)


@dataclass(frozen=True)
class Answer:
    """A server's answer about one file.

    Attributes:
        publisher: The publisher.
        set: The set of weights that was asked for.
        url: Its address.
        status: Status of the last response, or `None` if there was none.
        size: Bytes of the file, if the server stated them.
        hash: The file's hash, `"<algorithm>:<digits>"`, or its ETag, if the server stated one.
        redirects: Where the server redirected to, without queries.
        error: Why a download would fail, or `None`.
    """

    publisher: str
    set: str
    url: str
    status: int | None = None
    size: int | None = None
    hash: str | None = None
    redirects: tuple[str, ...] = ()
    error: str | None = None


def samples(entries: Iterable[Weights]) -> list[Weights]:
    """One set of each publisher on each server: a default set if there is one, a small one."""
    found: dict[tuple[str, str], Weights] = {}
    for entry in sorted(entries, key=lambda entry: (not entry.default, entry.params_total)):
        if entry.url:
            found.setdefault((entry.publisher, urlsplit(address(entry)).netloc), entry)
    return list(found.values())


def ask(entries: Sequence[Weights]) -> list[Answer]:
    """Ask for the file of each set, all at once, for at most `DEADLINE` seconds."""
    unasked = [Answer(entry.publisher, entry.name, _shown(address(entry))) for entry in entries]
    answers = [replace(answer, error="the server timed out") for answer in unasked]

    def answer(index: int) -> None:
        answers[index] = _answer(unasked[index], entries[index])

    threads = [
        threading.Thread(target=answer, args=(index,), daemon=True) for index in range(len(entries))
    ]
    deadline = time.monotonic() + DEADLINE
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    return list(answers)


def _answer(unasked: Answer, entry: Weights) -> Answer:
    url, answer = address(entry), unasked
    for method, part in REQUESTS:
        headers = {"Accept-Encoding": "identity", **({"Range": part} if part else {})}
        try:
            with (
                requests.Session() as session,
                # `stream`: the file itself is never read.
                session.request(
                    method, url, headers=headers, stream=True, timeout=TIMEOUT, allow_redirects=True
                ) as response,
            ):
                answer = _described(unasked, entry, url, response)
        # A server must not be able to end the program.
        except Exception as error:
            answer = replace(unasked, error=reason(error))
        if answer.status in GOOD:
            break
    return answer


def _described(unasked: Answer, entry: Weights, url: str, response: requests.Response) -> Answer:
    answers = [*response.history, response]
    stated = stated_hash(answers)
    found = replace(
        unasked,
        status=response.status_code,
        size=_size(answers),
        hash=readable(stated or response.headers.get("ETag", "")) or None,
        redirects=tuple(_shown(answer.url) for answer in answers[1:]),
    )
    try:
        checked_answers(url, response)
    except requests.HTTPError as error:
        return replace(found, error=reason(error))
    return replace(found, error=_error(found, entry, stated, url == entry.url, response.reason))


def _error(
    answer: Answer, entry: Weights, stated: str | None, published: bool, reason: str
) -> str | None:
    """Why a file with this answer would be refused, or `None`."""
    size, most = answer.size, most_bytes(entry)
    if answer.status not in GOOD:
        return readable(f"the server sent {answer.status} {reason}")
    if size is not None and not entry.params_total <= size <= most:
        return f"expected {entry.params_total} to {most} bytes. Received: {size}"
    if None not in (size, entry.size) and size != entry.size:
        return f"expected {entry.size} bytes. Received: {size}"
    if not (stated or entry.sha) and published:
        return "the server provides no hash of the file"
    same = stated and entry.sha and stated.split(":")[0] == entry.sha.split(":")[0]
    # The known hash of a zip is that of the file in it.
    if same and not entry.file.endswith(".zip") and not str(stated).startswith(str(entry.sha)):
        return f"expected {entry.sha}. Received: {stated}"
    return None


def _size(answers: Sequence[requests.Response]) -> int | None:
    last = answers[-1]
    stated = [answer.headers.get(LINKED_SIZE, "") for answer in answers]
    if last.status_code == 206:
        stated.append(last.headers.get("Content-Range", "").rpartition("/")[2])
    elif last.status_code == 200:
        stated.append(last.headers.get("Content-Length", ""))
    return next((int(text) for text in stated if re.fullmatch("[0-9]{1,15}", text)), None)


def _shown(url: str) -> str:
    """An address without its password and query, which may hold a signature."""
    return readable(urlsplit(url)._replace(query="", fragment="").geturl())
