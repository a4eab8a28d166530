"""Files from publishers' servers.

`requests` speaks HTTP and `urllib3` retries what a server refuses for the moment; what is here
continues a broken transfer where it stopped and lets nothing take the file's name that is not
whole.
"""

from __future__ import annotations

import base64
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError
from urllib3.exceptions import TimeoutError as ServerTimeout
from urllib3.util import Retry

# Seconds until a connection, and between two blocks.
TIMEOUT = (10, 60)
# Transfers in a row that may break without a new byte.
ATTEMPTS = 5
# What a broken connection costs at most: requests hands out whole blocks only.
BLOCK = 2**16
RETRY = Retry(
    total=5,
    # Silence is not worth as many attempts as a refusal.
    read=1,
    backoff_factor=0.5,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=("GET",),
    raise_on_status=False,
)
# Hugging Face states the SHA-256 of a large file before it redirects to where the file lies;
# Google's storage states the MD5.
STATED_SHA256 = "x-linked-etag"
STATED_HASHES = "x-goog-hash"


class _BrokenError(Exception):
    """A transfer that ended before the file did."""


def download(
    url: str, path: Path, max_bytes: int, progress: Callable[[int, int | None], None]
) -> str | None:
    """Download `url` to `path`, by way of `<path>.part`.

    A part left from an earlier time is continued if the server can do that.

    Args:
        url: What to download.
        path: Where to put it; appears only when it is complete.
        max_bytes: The most bytes to accept.
        progress: Called with the bytes there are and the total, if it is known.

    Returns:
        `"<algorithm>:<hexadecimal digits>"` as the server states it for the file, or `None`.

    Raises:
        OSError: One line that says why there is no file.
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
                raise OSError(f"{url}: {_reason(error)}") from None
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    part.unlink(missing_ok=True)
                reason = f"{part}: {error.strerror}; it is for {url}"
                raise OSError(error.errno, reason) from None
    os.replace(part, path)
    return stated


def _transfer(
    session: requests.Session,
    url: str,
    part: Path,
    max_bytes: int,
    progress: Callable[[int, int | None], None],
) -> str | None:
    """One request: from the end of `part` if there is one and the server can."""
    offset = part.stat().st_size if part.exists() else 0
    # Compressed on the way, the offsets would be those of other bytes.
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416 and offset:
            part.unlink()
            raise _BrokenError("the part that was there is not of this file")
        if response.status_code not in (200, 206):
            raise requests.HTTPError(f"the server answers {response.status_code} {response.reason}")
        answers = [*response.history, response]
        insecure = [answer.url for answer in answers if not answer.url.startswith("https:")]
        if url.startswith("https:") and insecure:
            raise requests.HTTPError(f"redirected to an insecure address, {insecure[0]}")
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise requests.HTTPError("the server sends a web page, not a file of weights")
        if response.status_code == 200:
            offset = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            part.unlink(missing_ok=True)
            raise _BrokenError("the server continues elsewhere than asked")
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
                why = "the server does not answer in time" if late else "the connection broke"
                raise _BrokenError(f"{why} after {offset} of {total or 'unknown'} bytes") from None
            file.flush()
            os.fsync(file.fileno())
        if offset > max_bytes:
            part.unlink()
            raise requests.HTTPError(f"more than the {max_bytes} bytes expected")
        if total is not None and offset != total:
            raise _BrokenError(f"the connection broke after {offset} of {total} bytes")
    for answer in answers:
        if re.fullmatch('"?[0-9a-fA-F]{64}"?', linked := answer.headers.get(STATED_SHA256, "")):
            return f"sha256:{linked.strip(chr(34)).lower()}"
        if match := re.search("md5=([A-Za-z0-9+/]{22}==)", answer.headers.get(STATED_HASHES, "")):
            return f"md5:{base64.b64decode(match[1]).hex()}"
    return None


def _reason(error: Exception) -> str:
    """One short line."""
    cause = error.args[0] if error.args else error
    cause = getattr(cause, "reason", None) or cause
    # urllib3 counts refusals among the timeouts.
    silent = isinstance(cause, ServerTimeout) and not isinstance(cause, NewConnectionError)
    if silent or isinstance(error, requests.Timeout):
        return "the server does not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return " ".join(f"no secure connection ({cause})".split())[:200]
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return " ".join(str(error).split())[:200]
