"""A server on this machine that answers downloads as the Hugging Face Hub does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from file_servers import Handler


def hub(repositories: Mapping[str, Mapping[str, Path]]):
    """The answer of a hub that has folders by repository, and in each by revision."""

    def answer(handler: Handler) -> None:
        path = unquote(urlsplit(handler.path).path).strip("/")
        api = path.removeprefix("api/models/")
        name = "/".join(api.split("/")[:2])
        revisions = repositories.get(name)
        if revisions is None:
            return refuse(handler, "RepoNotFound")
        rest = api.removeprefix(f"{name}/").split("/")
        kind, revision, file = rest[0], rest[1], "/".join(rest[2:])
        commits = {commit_of(name, revision): revision for revision in revisions}
        revision = commits.get(revision, revision)
        if revision not in revisions:
            return refuse(handler, "RevisionNotFound")
        folder, commit = revisions[revision], commit_of(name, revision)
        files = sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())
        if kind == "revision":
            siblings = [{"rfilename": file} for file in files]
            return send(handler, {"id": name, "sha": commit, "siblings": siblings})
        if kind == "tree":
            entries = [
                {"type": "file", "path": f, "oid": commit, "size": (folder / f).stat().st_size}
                for f in files
            ]
            return send(handler, entries)
        assert kind == "resolve", handler.path
        if file not in files:
            return refuse(handler, "EntryNotFound")
        data = (folder / file).read_bytes()
        etag = f'"{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"'
        handler.start(200, len(data), ETag=etag, X_Repo_Commit=commit)
        return handler.wfile.write(data)

    return answer


def commit_of(name: str, revision: str) -> str:
    """A commit's number."""
    return hashlib.sha1(f"{name}@{revision}".encode(), usedforsecurity=False).hexdigest()


def send(handler: Handler, content: object) -> None:
    data = json.dumps(content).encode()
    handler.start(200, len(data), Content_Type="application/json")
    handler.wfile.write(data)


def refuse(handler: Handler, code: str) -> None:
    handler.start(404, 0, X_Error_Code=code)
