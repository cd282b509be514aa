"""Facts about how the real server's refusals become reasons."""

from __future__ import annotations

import pytest

from mens.artifacts import errors, refs, s3
from tests.support.s3 import S3Server

pytestmark = pytest.mark.s3


def test_a_good_bucket(s3_store: s3.S3Store, bucket: refs.Uri) -> None:
    """SeaweedFS honors If-None-Match, and the probe leaves one small object behind."""
    probe = s3_store.probe(bucket)
    assert probe.writable
    assert probe.conditional_writes
    s3_store.probe(bucket)
    assert [info.uri for info in s3_store.list(bucket)] == [bucket / s3.PROBE_KEY]


@pytest.mark.parametrize(
    ("changes", "expected", "step"),
    [
        pytest.param(
            {"secret_access_key": "wrong"}, errors.StoreDenied, "check the", id="wrong-secret"
        ),
        pytest.param(
            {"access_key_id": "nobody"}, errors.StoreDenied, "check the", id="unknown-key"
        ),
        pytest.param(
            {"endpoint": "http://127.0.0.1:1"},
            errors.StoreUnreachable,
            "start the server, or correct the port",
            id="closed-port",
        ),
        pytest.param(
            {"endpoint": "http://mens.invalid:9000"},
            errors.StoreUnreachable,
            "check the",
            id="no-such-host",
        ),
    ],
)
def test_wrong_settings(
    s3_server: S3Server,
    bucket: refs.Uri,
    changes: dict[str, str],
    expected: type[errors.StoreError],
    step: str,
) -> None:
    """Each wrong setting gives its own reason, a next step, and no secret."""
    settings = s3_server.settings(attempts=1, **changes)
    with pytest.raises(expected) as caught:
        s3.S3Store(settings).probe(bucket)
    assert caught.value.transient
    assert step in str(caught.value)
    shown = f"{caught.value} {settings!r}"
    assert s3_server.secret_access_key not in shown
    assert (settings.secret_access_key or "") not in shown


def test_a_missing_bucket(s3_store: s3.S3Store) -> None:
    """A bucket that does not exist is named; it is not created in passing."""
    with pytest.raises(errors.BucketNotFound, match="'no-such-bucket' does not exist; create it"):
        s3_store.probe(refs.Uri("no-such-bucket"))


def test_a_reader(s3_server: S3Server, bucket: refs.Uri) -> None:
    """An identity that may only read passes the reading probe and is refused by the writing one."""
    settings = s3_server.settings(
        access_key_id=s3_server.read_only_key_id, secret_access_key=s3_server.read_only_secret
    )
    reader = s3.S3Store(settings)
    assert not reader.probe(bucket, write=False).writable
    with pytest.raises(errors.StoreDenied, match="PutObject"):
        reader.probe(bucket)


def test_settings_of_a_pod(s3_server: S3Server, bucket: refs.Uri) -> None:
    """The environment of a pod is enough to reach the store."""
    assert s3.from_env(s3_server.environ()).probe(bucket).writable
