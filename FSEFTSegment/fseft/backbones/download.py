"""Downloads the user asked for: https only, resumable, verified, through the proxy that the environment names."""

from __future__ import annotations

import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from fseft.backbones.weights import file_sha256
from fseft.errors import ResourceError
from fseft.files import cannot_write
from fseft.reporting import SILENT, Reporter

_BLOCK = 1 << 18
_TIMEOUT_S = 30.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_IMPORT_INSTEAD = "Or download the file on another computer and import it."


def download_file(
    url: str, target: Path, sha256: str, expected_bytes: int = 0, reporter: Reporter = SILENT, attempts: int = 3
) -> Path:
    """Download ``url`` to ``target``; what arrived before an interruption is kept and continued.

    Proxies are taken from the environment (``https_proxy``, ``no_proxy``), as urllib does.

    Args:
        url: https address (http only on this machine itself).
        target: appears only when whole and verified; until then ``<target>.part`` grows beside it.
        sha256: expected digest, hexadecimal.
        expected_bytes: for progress and the check of free space where the server does not tell; 0 if unknown.
        reporter: told the phase "download" in bytes.
        attempts: how often an interrupted transfer is continued before giving up.

    Raises:
        ResourceError: "download-insecure", "download-offline", "download-refused", "download-interrupted",
            "download-checksum", "disk-full" or "cannot-write".
        Cancelled: the partial file stays, so that the next try continues.
    """
    _require_secure(url)
    partial = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _require_space(target.parent, expected_bytes - (partial.stat().st_size if partial.exists() else 0))
        for attempt in range(attempts):
            if _fetch(url, partial, expected_bytes, reporter):
                break
            reporter.log("The connection broke; continuing where it stopped.", "warning")
            time.sleep(0.2 * attempt)
        else:
            raise ResourceError(
                "download-interrupted",
                f"The download of {target.name} kept breaking off.",
                "Try again: it continues where it stopped. " + _IMPORT_INSTEAD,
            )
        reporter.check_cancelled()
        if file_sha256(partial) != sha256.lower():
            partial.unlink()
            raise ResourceError(
                "download-checksum",
                f"What was downloaded for {target.name} is not the expected file (its checksum differs).",
                "Try once more; if it happens again the file on the server has changed: report it.",
            )
        partial.replace(target)
    except OSError as problem:
        raise cannot_write(target, problem) from problem
    return target


def _require_secure(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ResourceError(
            "download-insecure",
            f"The address {url} is not encrypted (https).",
            "Download the file yourself from a source you trust and import it.",
        )


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ResourceError(
            "disk-full",
            f"The download needs {needed / 1e6:.0f} MB and {free / 1e6:.0f} MB are free.",
            "Free some space, or let FSEFT_HOME name a folder on another disk.",
        )


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not out of encryption."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _require_secure(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, partial: Path, expected_bytes: int, reporter: Reporter) -> bool:
    """One transfer, appended to ``partial`` where the server continues there; True when it is whole."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "fseft"})  # noqa: S310 (https is required above)
    if have:
        request.add_header("Range", f"bytes={have}-")
    opener = urllib.request.build_opener(_SecureRedirects())
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as response:
            # A server or proxy may ignore the range and start over: appending that would spoil the file.
            continued = response.status == 206 and _starts_at(response, have)
            have = have if continued else 0
            length = response.headers.get("Content-Length")
            total = have + int(length) if length is not None else expected_bytes
            _require_space(partial.parent, total - have)
            with partial.open("ab" if continued else "wb") as stream:
                received = _copy(response, stream, have, total, reporter)
            return length is None or received >= total
    except urllib.error.HTTPError as problem:
        if problem.code == 416 and have:
            # Nothing is left to send: either the file is whole, or what is there belongs to another file.
            if _whole_size(problem) == have:
                return True
            partial.unlink()
            return False
        raise _refused(url, problem) from problem
    except (TimeoutError, urllib.error.URLError, ConnectionError, http.client.HTTPException) as problem:
        if partial.exists() and partial.stat().st_size > have:
            return False
        raise _offline(url, problem) from problem


def _starts_at(response: Any, offset: int) -> bool:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return match is not None and int(match.group(1)) == offset


def _whole_size(problem: urllib.error.HTTPError) -> int:
    match = re.match(r"bytes \*/(\d+)", problem.headers.get("Content-Range", ""))
    return int(match.group(1)) if match else -1


def _copy(response: IO[bytes], stream: IO[bytes], have: int, total: int, reporter: Reporter) -> int:
    """Copy to the end of the response; returns the size that the file then has. A broken connection just ends it."""
    while True:
        reporter.check_cancelled()
        try:
            block = response.read(_BLOCK)
        except http.client.IncompleteRead as problem:
            block = problem.partial
            stream.write(block)
            return have + len(block)
        except (TimeoutError, ConnectionError):
            return have
        if not block:
            return have
        stream.write(block)
        have += len(block)
        reporter.progress("download", have, max(total, have), f"{have / 1e6:.0f} of {max(total, have) / 1e6:.0f} MB")


def _refused(url: str, problem: urllib.error.HTTPError) -> ResourceError:
    return ResourceError(
        "download-refused",
        f"The server {urlsplit(url).hostname} answered {problem.code} {problem.reason}.",
        "The file may have moved. " + _IMPORT_INSTEAD,
    )


def _offline(url: str, problem: Exception) -> ResourceError:
    reason = getattr(problem, "reason", problem)
    return ResourceError(
        "download-offline",
        f"The server {urlsplit(url).hostname} cannot be reached ({reason}).",
        "Check the connection, and the https_proxy setting if your network needs one. " + _IMPORT_INSTEAD,
    )
