"""Download files from publishers' servers.

`requests` speaks HTTP and `urllib3` retries temporary errors; this module resumes broken transfers
and renames a file into place only when it is complete.
"""

from __future__ import annotations

import base64
import errno
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError
from urllib3.exceptions import TimeoutError as ServerTimeout
from urllib3.util import Retry

from keras_se.checks import readable

# Timeouts in seconds: to connect, and between two blocks.
TIMEOUT = (10, 60)
# Consecutive transfers that may break without a new byte.
ATTEMPTS = 5
# The most bytes that a broken connection loses, since requests only returns whole blocks.
BLOCK = 2**16
RETRY = Retry(
    total=5,
    # Retry timeouts less often than errors.
    read=1,
    backoff_factor=0.5,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=("GET",),
    raise_on_status=False,
)
# Hugging Face sends the SHA-256 of a large file before it redirects to the file; Google's storage
# sends the MD5.
STATED_SHA256 = "x-linked-etag"
STATED_HASHES = "x-goog-hash"


class _BrokenError(Exception):
    """Raised if a transfer ends before the file is complete."""


def download(
    url: str, path: Path, max_bytes: int, progress: Callable[[int, int | None], None]
) -> str | None:
    """Download `url` to `path` via `<path>.part`, resuming an earlier download if the server can.

    The file appears at `path` only when it is complete; more than `max_bytes` are refused.
    `progress` is called with the bytes received and the total, if known.

    Returns:
        The server's hash of the file as `"<algorithm>:<hexadecimal digits>"`, or `None`.

    Raises:
        OSError: With a one-line reason, if the download fails.
    """
    part = path.with_name(f"{path.name}.part")
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=RETRY))
        failures, had = 0, -1
        while True:
            try:
                stated = _transfer(session, url, part, max_bytes, progress)
                break
            except _BrokenError as error:
                size = part.stat().st_size if part.exists() else 0
                failures = 1 if size > had >= 0 else failures + 1
                had = size
                if failures >= ATTEMPTS:
                    raise OSError(f"{url}: {error} ({failures} attempts)") from None
            except requests.RequestException as error:
                raise OSError(f"{url}: {reason(error)}") from None
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    part.unlink(missing_ok=True)
                message = f"{part}: {error.strerror}; downloading {url}"
                raise OSError(error.errno, message) from None
    os.replace(part, path)
    return stated


def _transfer(
    session: requests.Session,
    url: str,
    part: Path,
    max_bytes: int,
    progress: Callable[[int, int | None], None],
) -> str | None:
    """Make one request, from the end of `part` if it exists and the server can resume."""
    offset = part.stat().st_size if part.exists() else 0
    # With compression, offsets would refer to other bytes.
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416 and offset:
            part.unlink()
            raise _BrokenError("the partial download does not belong to this file")
        if response.status_code not in (200, 206):
            raise requests.HTTPError(f"the server sent {response.status_code} {response.reason}")
        answers = checked_answers(url, response)
        if response.status_code == 200:
            offset = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            part.unlink(missing_ok=True)
            raise _BrokenError("the server resumed at the wrong offset")
        length = response.headers.get("Content-Length")
        total = offset + int(length) if length and length.isdigit() else None
        if (total or 0) > max_bytes:
            raise requests.HTTPError(f"{total} bytes; at most {max_bytes} expected")
        with open(part, "ab" if offset else "wb") as file:
            try:
                for block in response.iter_content(BLOCK):
                    offset += len(block)
                    if offset > max_bytes:
                        break
                    file.write(block)
                    progress(offset, total)
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                late = isinstance(error.args[0], ServerTimeout)
                why = "the server timed out" if late else "the connection broke"
                raise _BrokenError(f"{why} after {offset} of {total or 'unknown'} bytes") from None
            file.flush()
            os.fsync(file.fileno())
        if offset > max_bytes:
            part.unlink()
            raise requests.HTTPError(f"more than the {max_bytes} bytes expected")
        if total is not None and offset != total:
            raise _BrokenError(f"the connection broke after {offset} of {total} bytes")
    return stated_hash(answers)


def checked_answers(url: str, response: requests.Response) -> list[requests.Response]:
    """Return the redirects and the response to a request for `url`.

    Raises:
        requests.HTTPError: If a secure address led to an insecure one, or to a web page.
    """
    answers = [*response.history, response]
    insecure = [answer.url for answer in answers if not answer.url.startswith("https:")]
    if url.startswith("https:") and insecure:
        raise requests.HTTPError(f"redirected to an insecure address, {insecure[0]}")
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise requests.HTTPError("the server sent a web page, not a weights file")
    return answers


def stated_hash(answers: Iterable[requests.Response]) -> str | None:
    """Return the server's hash of the file as `"<algorithm>:<hexadecimal digits>"`, or `None`."""
    for answer in answers:
        if re.fullmatch('"?[0-9a-fA-F]{64}"?', linked := answer.headers.get(STATED_SHA256, "")):
            return f"sha256:{linked.strip(chr(34)).lower()}"
        if match := re.search("md5=([A-Za-z0-9+/]{22}==)", answer.headers.get(STATED_HASHES, "")):
            return f"md5:{base64.b64decode(match[1]).hex()}"
    return None


def reason(error: Exception) -> str:
    """Return the reason in one short line that a terminal can show, whatever a server sent."""
    cause = error.args[0] if error.args else error
    cause = getattr(cause, "reason", None) or cause
    # urllib3 counts refused connections as timeouts.
    silent = isinstance(cause, ServerTimeout) and not isinstance(cause, NewConnectionError)
    if silent or isinstance(error, requests.Timeout):
        return "the server timed out"
    if isinstance(error, requests.exceptions.SSLError):
        return readable(f"no secure connection ({cause})")
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return readable(error)
