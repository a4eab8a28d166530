"""`keras-se doctor`: what is installed, and what is wrong with it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

import keras_se
from keras_se.commands._output import as_json, fail, print_json, print_table


@click.command()
@click.option("--network", is_flag=True,
              help="Ask each publisher's server for one file, without downloading it.")  # fmt: skip
@as_json
def doctor(network: bool, as_json: bool) -> None:
    """Show the installation, the cache and known faults; exit code 1 if something must be mended.

    With --network, also whether the publishers' servers answer as expected.
    """
    # These need no package that may be missing; those that do are imported if nothing is wrong.
    from keras_se.diagnosis import backend, installation, surroundings
    from keras_se.weights.locations import offline

    if network and offline():
        raise ValueError("`network` needs a connection. Received: KERAS_SE_OFFLINE is set")
    started, cache = backend.start(), surroundings.cache()
    findings = list(installation.findings())
    answers = _answers() if network and not any(one.blocks for one in findings) else []
    findings += surroundings.findings(cache)
    if "error" in started:
        findings.append(
            installation.Finding(
                True,
                f"Keras does not start: {started['error']}",
                "reinstall keras and its backend; see KERAS_BACKEND",
            )
        )
    report: dict[str, Any] = {
        "keras_se": keras_se.__version__,
        "machine": surroundings.machine(),
        "backend": started,
        "packages": installation.packages(),
        "cache": cache,
        "environment": surroundings.variables(),
        "extras": installation.extras(),
        "findings": [asdict(finding) for finding in findings],
    }
    if network:
        report["publishers"] = [asdict(answer) for answer in answers]
    if as_json:
        print_json(report)
    else:
        _print(report)
    wrong = [finding.what for finding in findings if finding.blocks]
    wrong += [f"{answer.url}: {answer.error}" for answer in answers if answer.error]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        fail(f"{wrong[0]}{more}")


def _answers() -> list[Any]:
    from keras_se.diagnosis import publishers
    from keras_se.weights.entries import known_weights

    return publishers.ask(publishers.samples(known_weights()))


def _print(report: dict[str, Any]) -> None:
    machine, backend, cache = report["machine"], report["backend"], report["cache"]
    rows = [("keras-se", report["keras_se"])]
    rows += [(name, machine[name]) for name in ("Python", "processor", "cores")]
    rows += [
        ("memory", _size(machine["memory"])),
        ("backend", backend.get("backend", "does not start")),
        ("accelerators", ", ".join(backend.get("accelerators", ())) or "none"),
        ("cache", cache["folder"]),
        ("files in it", f"{_size(cache['bytes'])} in {cache['files']} files"),
        ("free disk", _size(cache["free"])),
        *report["environment"].items(),
    ]
    print_table(rows)
    _section(
        ("package", "version"), [(n, v or "not installed") for n, v in report["packages"].items()]
    )
    extras = [
        (e["extra"], e["enables"], f"lacks {e['missing']}" if e["missing"] else "yes")
        for e in report["extras"]
    ]
    _section(("extra", "enables", "installed"), extras)
    findings = [
        ("wrong" if finding["blocks"] else "note", finding["what"], finding["remedy"])
        for finding in report["findings"]
    ]
    _section(("", "found", "what to do"), findings)
    answers = [
        (a["publisher"], a["set"], a["error"] or a["status"], _size(a["size"]), a["hash"] or "",
         " -> ".join([a["url"], *a["redirects"]]))
        for a in report.get("publishers", ())
    ]  # fmt: skip
    columns = ("publisher", "set", "answer", "size", "hash or ETag", "address and redirects")
    _section(columns, answers)


def _section(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    if rows:
        click.echo()
        print_table(rows, columns)


def _size(count: int | None) -> str:
    from rich.filesize import decimal

    return "" if count is None else decimal(count)
