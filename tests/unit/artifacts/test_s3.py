"""Facts about the S3 client that need a server which misbehaves in its own ways."""

from __future__ import annotations

import http.server
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mens.artifacts import errors, refs, s3

URI = refs.Uri("mens", "object")
DATA = bytes(range(256)) * 1000


@contextmanager
def server(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[s3.S3Store]:
    """A client of an HTTP server that answers as told."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_PUT = do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield s3.S3Store(
            s3.Settings(
                endpoint=f"http://127.0.0.1:{running.server_port}",
                access_key_id="key",
                secret_access_key="top-secret",
                read_timeout=0.5,
                attempts=3,
            )
        )
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def test_a_download_that_breaks_is_taken_up() -> None:
    """A connection that ends too early is resumed with a range, under the same ETag."""
    ranges: list[tuple[str | None, str | None]] = []

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        ranges.append((asked, request.headers.get("If-Match")))
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        request.send_response(206 if asked else 200)
        request.send_header("Content-Length", str(len(DATA) - start))
        request.send_header("ETag", '"one"')
        request.end_headers()
        request.wfile.write(DATA[start : start + 100_000])

    with server(answer) as store:
        assert b"".join(store.open(URI)) == DATA
    assert ranges == [(None, None), ("bytes=100000-", '"one"'), ("bytes=200000-", '"one"')]


def test_a_download_that_always_breaks() -> None:
    """A connection that never holds is StorageUnreachable after a few tries, not a loop."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "10")
        request.end_headers()

    with server(answer) as store, pytest.raises(errors.StoreUnreachable, match="does not answer"):
        store.get_bytes(URI)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (500, errors.StoreUnreachable),
        (503, errors.StoreUnreachable),
        (429, errors.StoreUnreachable),
        (400, errors.StoreDenied),
        (403, errors.StoreDenied),
    ],
)
def test_status_codes(status: int, expected: type[errors.StoreError]) -> None:
    """What the server's trouble is may be tried again; what it refuses names the credentials."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", "0")
        request.end_headers()

    with server(answer) as store, pytest.raises(expected) as caught:
        store.put_bytes(URI, b"x")
    assert "top-secret" not in f"{caught.value!r} {caught.value}"
    assert "127.0.0.1" in str(caught.value)


@pytest.mark.parametrize("words", [b"HTTP/1.1 abc\r\n\r\n", b"no HTTP at all\r\n\r\n"])
def test_a_server_that_speaks_no_http(words: bytes) -> None:
    """A broken answer is a broken connection; nothing is said of certificates."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(words)
        request.close_connection = True

    with server(answer) as store, pytest.raises(errors.StoreUnreachable) as caught:
        store.head(URI)
    assert "certificate" not in str(caught.value)
    assert "check the endpoint" in str(caught.value)


def test_a_server_that_hangs() -> None:
    """A server that never answers costs the read timeout, not forever."""
    release = threading.Event()

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        release.wait(10)

    with server(answer) as store:
        try:
            with pytest.raises(errors.StoreUnreachable):
                store.head(URI)
        finally:
            release.set()


def said_of(endpoint: str, **settings: Any) -> str:
    """What a client says that cannot speak with an endpoint; always worth another try."""
    given: dict[str, Any] = {
        "access_key_id": "key",
        "secret_access_key": "top-secret",
        "attempts": 1,
    }
    store = s3.S3Store(s3.Settings(endpoint=endpoint, **(given | settings)))
    with pytest.raises(errors.StoreUnreachable) as caught:
        store.get_bytes(URI)
    assert str(caught.value).startswith(endpoint)
    assert "s3://mens/object" in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An HTTPS endpoint and its certificate, which nobody signed and which names localhost."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    files = ["-nodes", "-days", "2", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *files, *subject], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    running.socket = context.wrap_socket(running.socket, server_side=True)
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{running.server_port}", certificate
    running.shutdown()
    running.server_close()
    thread.join()


def test_a_certificate_that_is_not_trusted(tls: tuple[str, Path]) -> None:
    """A certificate nobody trusts is named as the cause, with the setting that helps."""
    said = said_of(tls[0])
    assert "its certificate is not trusted (self-signed certificate)" in said
    assert "MENS_S3_CA_BUNDLE" in said
    assert "s3.caConfigMap" in said


def test_a_certificate_of_another_host(tls: tuple[str, Path]) -> None:
    """A trusted certificate of another name is the endpoint's trouble, not the authority's."""
    endpoint, certificate = tls
    assert "its certificate is for another host" in said_of(endpoint, ca_bundle=str(certificate))


@pytest.mark.parametrize("content", [None, "nonsense"])
def test_a_bundle_that_cannot_be_read(
    tls: tuple[str, Path], tmp_path: Path, content: str | None
) -> None:
    """A bundle that is missing or holds no certificate is named, with its path."""
    bundle = tmp_path / "ca.crt"
    if content is not None:
        bundle.write_text(content)
    said = said_of(tls[0], ca_bundle=str(bundle))
    assert f"check that {bundle} (MENS_S3_CA_BUNDLE" in said


def test_an_endpoint_without_tls() -> None:
    """An https endpoint whose server speaks plain HTTP says so."""
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def answer() -> None:
            connection, _ = plain.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        said = said_of(f"https://127.0.0.1:{plain.getsockname()[1]}")
        thread.join()
    assert "it speaks no TLS" in said


def test_a_host_that_is_unknown() -> None:
    """A host name that DNS does not know is named as the cause."""
    assert "its host name is unknown" in said_of("http://no-such-host.invalid:8333")


def test_nobody_listens() -> None:
    """A refused connection is told from a missing answer."""
    assert "the connection is refused" in said_of("http://127.0.0.1:1")


def test_no_answer_in_time() -> None:
    """A server that accepts and stays silent is told from one that refuses."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "no answer came in time" in said_of(endpoint, read_timeout=0.2)


@pytest.mark.parametrize("name", ["a//b", "../a", "a\x01"])
def test_strange_keys_in_a_bucket(name: str) -> None:
    """A listing with a key that Mens would not follow is refused, not followed."""
    page = (
        '<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated><Contents>'
        f"<Key>{name.replace(chr(1), '%01')}</Key><Size>1</Size></Contents></ListBucketResult>"
    ).replace("<IsTruncated>", "<EncodingType>url</EncodingType><IsTruncated>")

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(page)))
        request.end_headers()
        request.wfile.write(page.encode())

    with server(answer) as store, pytest.raises(errors.NameRefused):
        list(store.list(refs.Uri("mens")))


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any identity the error is StorageDenied and says which Secret is missing."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(errors.StoreDenied, match="AWS_ACCESS_KEY_ID"):
        s3.from_env({"MENS_S3_ENDPOINT": "http://127.0.0.1:1"}).head(URI)


@pytest.mark.parametrize(
    "environ",
    [
        {"MENS_S3_ENDPOINT": "http://user:secret@host"},
        {"MENS_S3_ENDPOINT": "host:9000"},
        {"MENS_S3_ENDPOINT": "ftp://host"},
        {"MENS_S3_PATH_STYLE": "yes"},
    ],
)
def test_refused_settings(environ: dict[str, str]) -> None:
    """A setting that cannot be meant is refused at once, and a password in it is not repeated."""
    with pytest.raises(errors.NameRefused, match="MENS_S3_") as caught:
        s3.settings_from_env(environ)
    assert "secret@" not in str(caught.value)


def test_settings_of_the_environment() -> None:
    """Defaults fit a server of one's own; without an endpoint they fit AWS; empty means absent."""
    own = s3.settings_from_env({"MENS_S3_ENDPOINT": "http://s3:9000", "AWS_SECRET_ACCESS_KEY": "x"})
    assert (own.region, own.path_style, own.ca_bundle) == ("us-east-1", True, None)
    assert "AWS" not in repr(own)
    aws = s3.settings_from_env({"MENS_S3_ENDPOINT": "", "MENS_S3_REGION": "eu-central-1"})
    assert (aws.endpoint, aws.region, aws.path_style) == (None, "eu-central-1", False)
