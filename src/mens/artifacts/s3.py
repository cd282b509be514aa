"""S3, by boto3: the only module that knows it. Errors are converted here and nowhere else."""

from __future__ import annotations

import contextlib
import socket
import ssl
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import boto3
import botocore.config
import botocore.exceptions
from urllib3.util import ssl_match_hostname

from mens.artifacts import digests, errors, names, refs, store

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef

PART: Final = 32 * 1024 * 1024
"""Bytes of one part of a multipart upload; smaller files go in one PUT. A part is held in memory
by each of the uploading threads."""
PARTS: Final = 10_000
"""Parts that S3 allows; a file above 320 GB gets larger parts."""
READ: Final = 1024 * 1024
"""Bytes of one chunk of a download."""
PROBE_KEY: Final = "mens-probe/if-none-match"
"""The one object that `probe` writes; always the same, so nothing piles up."""

_DENIED: Final = frozenset(
    {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
)
_ABSENT: Final = frozenset({"404", "NoSuchKey", "NotFound"})
_BUSY: Final = frozenset({408, 425, 429})
_EXISTS: Final = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})


@dataclass(frozen=True)
class Settings:
    """How to reach an S3 server."""

    endpoint: str | None = None
    """URL of the server; None for AWS."""
    region: str = "us-east-1"
    """Region that requests are signed for; servers of one's own mostly accept any."""
    path_style: bool = True
    """Whether the bucket stands in the path and not in the host name."""
    ca_bundle: str | None = None
    """File with the certificates to trust; None for the system's."""
    access_key_id: str | None = None
    """Static key; None uses the identity of the environment (web identity first)."""
    secret_access_key: str | None = None
    """Its secret; never shown."""
    session_token: str | None = None
    """Its session, for keys that expire."""
    connect_timeout: float = 3.0
    """Seconds to wait for a connection."""
    read_timeout: float = 30.0
    """Seconds to wait for the next bytes of an answer."""
    attempts: int = 3
    """Tries of one request, the first one included."""
    connections: int = 16
    """Connections kept open; at least as many as threads that transfer."""

    def __repr__(self) -> str:
        return f"Settings(endpoint={self.endpoint!r}, region={self.region!r})"

    def __post_init__(self) -> None:
        if self.endpoint is None:
            return
        parts = urllib.parse.urlsplit(self.endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
            raise errors.NameRefused(
                "the S3 endpoint is not a URL such as https://s3.example:9000 (without user "
                "and password; credentials belong into a Secret): correct MENS_S3_ENDPOINT"
            )


def from_env(environ: Mapping[str, str]) -> S3Store:
    """The store that the environment of a pod describes; see `Settings` for the defaults."""
    return S3Store(settings_from_env(environ))


def settings_from_env(environ: Mapping[str, str]) -> Settings:
    """Read `MENS_S3_*` and `AWS_*`; an empty value counts as absent."""

    def get(name: str) -> str | None:
        return environ.get(name) or None

    endpoint = get("MENS_S3_ENDPOINT")
    path_style = get("MENS_S3_PATH_STYLE") or ("true" if endpoint else "false")
    if path_style not in {"true", "false"}:
        raise errors.NameRefused(f"MENS_S3_PATH_STYLE is {path_style!r}: write true or false")
    return Settings(
        endpoint=endpoint,
        region=get("MENS_S3_REGION") or "us-east-1",
        path_style=path_style == "true",
        ca_bundle=get("MENS_S3_CA_BUNDLE"),
        access_key_id=get("AWS_ACCESS_KEY_ID"),
        secret_access_key=get("AWS_SECRET_ACCESS_KEY"),
        session_token=get("AWS_SESSION_TOKEN"),
    )


class S3Store:
    """An S3 server; see `store.ObjectStore` for the contract. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._where = settings.endpoint or f"AWS S3 in {settings.region}"
        self._client = _client(settings)

    def get_bytes(self, uri: refs.Uri, *, max_bytes: int = store.SMALL) -> bytes:
        """See `store.ObjectStore`."""
        data = bytearray()
        for chunk in self.open(uri):
            data += chunk
            if len(data) > max_bytes:
                raise errors.ManifestInvalid(store.too_large(uri, len(data), max_bytes))
        return bytes(data)

    def open(self, uri: refs.Uri) -> Iterator[bytes]:
        """See `store.ObjectStore`; a connection that breaks is taken up where it broke."""
        done, broken, etag = 0, 0, ""
        while True:
            # The ETag proves no bytes; it only keeps two objects from being glued together.
            rest: dict[str, Any] = {"Range": f"bytes={done}-", "IfMatch": etag} if done else {}
            try:
                with self._converted(uri):
                    answer = self._client.get_object(Bucket=uri.bucket, Key=uri.key, **rest)
            except _ConditionError:
                raise errors.DigestMismatch(f"{uri} was replaced while it was read") from None
            etag = answer.get("ETag", "")
            body = answer["Body"]
            try:
                for chunk in body.iter_chunks(READ):
                    done += len(chunk)
                    yield chunk
            except _TRANSPORT as e:
                broken += 1
                if broken >= self._settings.attempts:
                    raise self._unreachable(uri, e) from e
            else:
                return
            finally:
                body.close()

    def put_bytes(self, uri: refs.Uri, data: bytes, *, if_absent: bool = False) -> bool:
        """See `store.ObjectStore`."""
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {}
        try:
            with self._converted(uri):
                self._client.put_object(Bucket=uri.bucket, Key=uri.key, Body=data, **condition)
        except _ConditionError:
            if not if_absent:
                raise self._unreachable(uri) from None
            return False
        return True

    def put_file(self, uri: refs.Uri, path: Path, digest: digests.Digest) -> None:
        """See `store.ObjectStore`."""
        size = path.stat().st_size
        with path.open("rb") as file:
            if size <= PART:
                data = file.read(PART + 1)
                store.unchanged(path, digests.Digest.of_bytes(data), digest)
                self.put_bytes(uri, data)
            else:
                self._put_parts(uri, file, size, path, digest)

    def head(self, uri: refs.Uri) -> store.ObjectInfo | None:
        """See `store.ObjectStore`."""
        try:
            with self._converted(uri):
                answer = self._client.head_object(Bucket=uri.bucket, Key=uri.key)
        except errors.ObjectNotFound:
            return None
        return store.ObjectInfo(uri, answer["ContentLength"])

    def list(self, folder: refs.Uri) -> Iterator[store.ObjectInfo]:
        """See `store.ObjectStore`."""
        for key, size in self.keys(folder):
            yield store.ObjectInfo(refs.Uri(folder.bucket, key), size)

    def keys(self, folder: refs.Uri) -> Iterator[tuple[str, int]]:
        """See `store.ObjectStore`."""
        prefix = folder.key + "/" if folder.key else ""
        token: dict[str, Any] = {}
        while True:
            with self._converted(folder):
                page = self._client.list_objects_v2(Bucket=folder.bucket, Prefix=prefix, **token)
            for item in page.get("Contents", []):
                if not item["Key"].endswith("/"):
                    yield item["Key"], item["Size"]
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, uri: refs.Uri) -> None:
        """See `store.ObjectStore`."""
        with contextlib.suppress(errors.ObjectNotFound), self._converted(uri):
            self._client.delete_object(Bucket=uri.bucket, Key=uri.key)

    def probe(self, bucket: refs.Uri, *, write: bool = True) -> store.Probe:
        """See `store.ObjectStore`; asks for a list because HEAD answers carry no error code."""
        root = bucket.root
        with self._converted(root):
            self._client.list_objects_v2(Bucket=root.bucket, MaxKeys=1)
        if not write:
            return store.Probe(root, writable=False, conditional_writes=False)
        target = root / PROBE_KEY
        self.put_bytes(target, b"mens")
        try:
            honored = not self.put_bytes(target, b"mens", if_absent=True)
        except (errors.StoreDenied, errors.StoreUnreachable):
            # A server that knows no conditions may also answer 400 or 501.
            honored = False
        return store.Probe(root, writable=True, conditional_writes=honored)

    def create_bucket(self, name: str) -> None:
        """Make a bucket; one that exists stays as it is. For set-up, never called by a job."""
        with contextlib.suppress(_ConditionError), self._converted(refs.Uri(name)):
            self._client.create_bucket(Bucket=names.bucket(name))

    def _put_parts(
        self, uri: refs.Uri, file: IO[bytes], size: int, path: Path, digest: digests.Digest
    ) -> None:
        """Upload in parts; completed, and so visible, only if the bytes were the right ones."""
        where: Any = {"Bucket": uri.bucket, "Key": uri.key}
        part_size = max(PART, -(-size // PARTS))
        hasher = digests.Hasher()
        parts: list[CompletedPartTypeDef] = []
        with self._converted(uri):
            upload = self._client.create_multipart_upload(**where)["UploadId"]
        try:
            while data := file.read(part_size):
                hasher.update(data)
                number = len(parts) + 1
                with self._converted(uri):
                    answer = self._client.upload_part(
                        **where, UploadId=upload, PartNumber=number, Body=data
                    )
                parts.append({"ETag": answer["ETag"], "PartNumber": number})
            store.unchanged(path, hasher.digest(), digest)
            with self._converted(uri):
                self._client.complete_multipart_upload(
                    **where, UploadId=upload, MultipartUpload={"Parts": parts}
                )
        except BaseException:
            with contextlib.suppress(errors.StoreError), self._converted(uri):
                self._client.abort_multipart_upload(**where, UploadId=upload)
            raise

    @contextlib.contextmanager
    def _converted(self, uri: refs.Uri) -> Iterator[None]:
        """Turn what boto3 raises into our errors; only codes are kept, never its messages."""
        try:
            yield
        except botocore.exceptions.ClientError as e:
            raise self._refusal(uri, e) from e
        except _NO_IDENTITY as e:
            raise errors.StoreDenied(
                f"there are no usable credentials for {self._where} ({type(e).__name__}); set the "
                "Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a web identity"
            ) from e
        except _TRANSPORT as e:
            raise self._unreachable(uri, e) from e

    def _refusal(self, uri: refs.Uri, e: botocore.exceptions.ClientError) -> Exception:
        code = str(e.response.get("Error", {}).get("Code", "")) or "no code"
        status = int(e.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code == "NoSuchBucket":
            return errors.BucketNotFound(f"{self._where}: {store.no_bucket(uri.bucket)}")
        if code in _ABSENT:
            return errors.ObjectNotFound(f"{uri} does not exist; correct the name or create it")
        if code in _EXISTS or code.startswith("BucketAlready"):
            return _ConditionError()
        if code in _DENIED or (400 <= status < 500 and status not in _BUSY):
            return errors.StoreDenied(
                f"{self._where} refuses {e.operation_name} on {uri} ({code}); check the access "
                "key, its secret, its permissions on this bucket, and the region"
            )
        return errors.StoreUnreachable(
            f"{self._where} cannot serve {e.operation_name} on {uri} now ({code}); "
            "it is tried again"
        )

    def _unreachable(
        self, uri: refs.Uri, error: Exception | None = None
    ) -> errors.StoreUnreachable:
        cause = _cause(error, self._settings)
        return errors.StoreUnreachable(
            f"{self._where} does not answer for {uri}: {cause}; it is tried again"
        )


def _cause(error: BaseException | None, settings: Settings) -> str:
    """What kept a connection from being made or kept, and what to do about it.

    The innermost error that is known decides; botocore's own names are vaguer.
    """
    known = (_known_cause(each, settings) for each in reversed(list(_chain(error))))
    default = "the connection broke; check the endpoint, the network policy and the server"
    return next(filter(None, known), default)


def _known_cause(error: BaseException, settings: Settings) -> str:
    cause = ""
    match error:
        case socket.gaierror():
            cause = "its host name is unknown; correct the endpoint, or check the DNS"
        case ConnectionRefusedError():
            cause = "the connection is refused; start the server, or correct the port"
        case TimeoutError():
            cause = "no answer came in time; check the network policy and the server's load"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):
            cause = "it speaks no TLS; write http:// in the endpoint, or correct the port"
        case ssl.SSLCertVerificationError(verify_message=found):
            cause = (
                f"its certificate is not trusted ({found}); put that of its authority into the "
                "file that MENS_S3_CA_BUNDLE names (chart value s3.caConfigMap)"
            )
        # urllib3 compares names itself, and its error is not an SSLError.
        case ssl_match_hostname.CertificateError():
            cause = f"its certificate is for another host ({error}); correct the endpoint"
        case botocore.exceptions.SSLError() if settings.ca_bundle:
            cause = (
                f"TLS fails; check that {settings.ca_bundle} (MENS_S3_CA_BUNDLE, chart value "
                "s3.caConfigMap) is there and holds the certificate of its authority"
            )
    return cause


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        before = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or before


class _ConditionError(Exception):
    """A condition was not met; never leaves this module."""


_TRANSPORT: Final = (
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ConnectionError,
    botocore.exceptions.IncompleteReadError,
)
_NO_IDENTITY: Final = (
    botocore.exceptions.NoCredentialsError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.CredentialRetrievalError,
    botocore.exceptions.UnauthorizedSSOTokenError,
)


def _client(settings: Settings) -> S3Client:
    config = botocore.config.Config(
        region_name=settings.region,
        signature_version="s3v4",
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        retries={"mode": "standard", "total_max_attempts": settings.attempts},
        max_pool_connections=settings.connections,
        s3={"addressing_style": "path" if settings.path_style else "auto"},
        # Our own SHA-256 is the truth; CRC trailers only keep older servers from understanding us.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3.session.Session(
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=settings.secret_access_key,
        aws_session_token=settings.session_token,
    )
    client: S3Client = session.client(
        "s3", endpoint_url=settings.endpoint, verify=settings.ca_bundle, config=config
    )
    return client
