"""Downloads from a server on this machine: whole, broken, continued, tampered with, refused."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fseft.backbones import download
from fseft.backbones.download import download_file
from fseft.errors import Cancelled, ResourceError
from fseft.reporting import Reporter

CONTENT = bytes(range(256)) * 8000  # 2 MB
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; ``break_after`` cuts the first answers, ``ranges`` is whether it continues."""

    daemon_threads = True
    break_after: list[int]
    ranges = True
    requests: list[str | None]
    status = 200


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *arguments: object) -> None:
        """Silent."""

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append(asked)
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "http://example.invalid/weights")
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:]
        if self.server.break_after:
            body = body[: self.server.break_after.pop(0)]
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = Server(("127.0.0.1", 0), Handler)
    made.break_after, made.requests = [], []
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def url(server: Server, path: str = "/weights.pth") -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


class Listener(Reporter):
    def __init__(self, cancel_at: float = float("inf")) -> None:
        self.seen: list[float] = []
        self.total = 0.0
        self.cancel_at = cancel_at

    def progress(self, phase: str, done: float, total: float, detail: str = "") -> None:
        assert phase == "download"
        self.seen.append(done)
        self.total = total

    def check_cancelled(self) -> None:
        if self.seen and self.seen[-1] >= self.cancel_at:
            raise Cancelled


def test_a_whole_download_is_verified_and_reports_progress(server: Server, tmp_path: Path) -> None:
    listener = Listener()
    target = download_file(url(server), tmp_path / "new" / "weights.pth", DIGEST, reporter=listener)
    assert target.read_bytes() == CONTENT
    assert listener.seen == sorted(listener.seen)
    assert listener.seen[-1] == listener.total == len(CONTENT)
    assert [p.name for p in target.parent.iterdir()] == ["weights.pth"]


def test_a_broken_connection_is_continued_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.break_after = [700_000, 500_000]
    target = download_file(url(server), tmp_path / "weights.pth", DIGEST)
    assert target.read_bytes() == CONTENT
    assert server.requests == [None, "bytes=700000-", "bytes=1200000-"]


def test_a_connection_that_keeps_breaking_is_named_and_continued_next_time(server: Server, tmp_path: Path) -> None:
    server.break_after = [100, 100, 100]
    with pytest.raises(ResourceError) as caught:
        download_file(url(server), tmp_path / "weights.pth", DIGEST)
    assert caught.value.code == "download-interrupted"
    assert (tmp_path / "weights.pth.part").stat().st_size == 300
    assert not (tmp_path / "weights.pth").exists()
    assert download_file(url(server), tmp_path / "weights.pth", DIGEST).read_bytes() == CONTENT
    assert server.requests[-1] == "bytes=300-"


def test_a_server_that_cannot_continue_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "weights.pth.part").write_bytes(CONTENT[:1000])
    assert download_file(url(server), tmp_path / "weights.pth", DIGEST).read_bytes() == CONTENT


def test_a_part_that_is_already_whole_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(CONTENT)
    assert download_file(url(server), tmp_path / "weights.pth", DIGEST).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_part_of_something_longer_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(CONTENT + b"more")
    assert download_file(url(server), tmp_path / "weights.pth", DIGEST).read_bytes() == CONTENT


def test_another_file_fails_its_checksum_and_is_removed(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as caught:
        download_file(url(server), tmp_path / "weights.pth", "0" * 64)
    assert caught.value.code == "download-checksum"
    assert list(tmp_path.iterdir()) == []


def test_cancelling_keeps_what_arrived(server: Server, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        download_file(url(server), tmp_path / "weights.pth", DIGEST, reporter=Listener(cancel_at=500_000))
    kept = (tmp_path / "weights.pth.part").stat().st_size
    assert 500_000 <= kept < len(CONTENT)
    assert download_file(url(server), tmp_path / "weights.pth", DIGEST).read_bytes() == CONTENT
    assert server.requests[-1] == f"bytes={kept}-"


def test_no_server_is_named(server: Server, tmp_path: Path) -> None:
    address = url(server)
    server.server_close()
    with pytest.raises(ResourceError) as caught:
        download_file(address, tmp_path / "weights.pth", DIGEST)
    assert caught.value.code == "download-offline"
    assert "127.0.0.1" in caught.value.message
    assert "import" in caught.value.hint


def test_a_refusal_is_named(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(ResourceError) as caught:
        download_file(url(server), tmp_path / "weights.pth", DIGEST)
    assert caught.value.code == "download-refused"
    assert "404" in caught.value.message


@pytest.mark.parametrize(
    "address", ["http://example.invalid/weights", "file:///etc/hostname", "ftp://example.invalid/x"]
)
def test_only_encrypted_addresses_are_fetched(address: str, tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as caught:
        download_file(address, tmp_path / "weights.pth", DIGEST)
    assert caught.value.code == "download-insecure"


def test_a_redirect_out_of_encryption_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as caught:
        download_file(url(server, "/elsewhere"), tmp_path / "weights.pth", DIGEST)
    assert caught.value.code == "download-insecure"


def test_a_full_disk_is_named_before_the_transfer(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as caught:
        download_file(url(server), tmp_path / "weights.pth", DIGEST, expected_bytes=10**18)
    assert caught.value.code == "disk-full"
    assert server.requests == []


def test_the_proxy_of_the_environment_is_used(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The server here plays the proxy: it is asked for the whole address of a host that does not exist.
    monkeypatch.setattr(download, "_LOOPBACK", (*download._LOOPBACK, "weights.invalid"))
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    target = download_file("http://weights.invalid/weights.pth", tmp_path / "weights.pth", DIGEST)
    assert target.read_bytes() == CONTENT
