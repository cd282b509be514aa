"""`python -m benchmarks.artifacts`: publish and fetch an artifact, beside boto3.

Both use the same SeaweedFS process on the loopback interface and the same number of threads. Mens
hashes every file while it writes it and again while it reads it; boto3's transfer manager verifies
no digest of yours.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import uuid
from concurrent import futures
from pathlib import Path

import boto3
from boto3.s3.transfer import TransferConfig

from benchmarks import measure
from mens.artifacts import manifests, publisher, reader, refs, s3, transfers
from tests.support import s3 as s3_server

MIB = 2**20


def main() -> int:
    """Compare publishing and fetching, and print table and line of JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.artifacts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--mebibytes", type=int, default=64, help="size; default: %(default)s")
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="mens-bench-"))
    try:
        with s3_server.running(home / "server") as server:
            rows = _compare(server, home, arguments.mebibytes, arguments.rounds)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    sys.stdout.write(measure.report("artifacts", "boto3", rows, rounds=arguments.rounds))
    return 0


def _compare(
    server: s3_server.S3Server, home: Path, mebibytes: int, rounds: int
) -> list[measure.Row]:
    store = s3.S3Store(server.settings())
    store.create_bucket("bench")
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        region_name="us-east-1",
    )
    transfer = TransferConfig(max_concurrency=transfers.THREADS)
    folder = home / "folder"
    published: list[refs.ArtifactRef] = []

    def publish() -> None:
        where = refs.Uri("bench", f"ours/{uuid.uuid4().hex}")
        published.append(publisher.publish(store, where, folder, _draft()))

    def upload() -> None:
        key = f"peer/{uuid.uuid4().hex}"
        with futures.ThreadPoolExecutor(transfers.THREADS) as pool:
            each = [
                pool.submit(
                    client.upload_file, str(path), "bench", f"{key}/{path.name}", Config=transfer
                )
                for path in sorted(folder.iterdir())
            ]
        for one in each:
            one.result()
        uploaded.append(key)

    uploaded: list[str] = []
    size = f"{mebibytes} MiB in {FILES} files"
    rows = [
        measure.compare(
            f"publish {size}",
            ours=publish,
            peer=upload,
            rounds=rounds,
            # New bytes each time: a blob that the store already has is read back, not written.
            prepare=lambda: _fill(folder, mebibytes),
            note="Mens hashes every byte; boto3 does not",
        )
    ]

    def fetch() -> None:
        into = home / "ours"
        shutil.rmtree(into, ignore_errors=True)
        reader.fetch(store, published[-1], into)

    def download() -> None:
        into = home / "peer"
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        with futures.ThreadPoolExecutor(transfers.THREADS) as pool:
            each = [
                pool.submit(
                    client.download_file,
                    "bench",
                    f"{uploaded[-1]}/{name}",
                    str(into / name),
                    Config=transfer,
                )
                for name in NAMES
            ]
        for one in each:
            one.result()

    note = "Mens verifies every byte; boto3 does not"
    rows.append(
        measure.compare(f"fetch {size}", ours=fetch, peer=download, rounds=rounds, note=note)
    )
    return rows


FILES = 8
NAMES = tuple(f"model-{number}.safetensors" for number in range(FILES))


def _fill(folder: Path, mebibytes: int) -> None:
    """Write files of random bytes; `random` fills them ten times faster than a hash would."""
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        (folder / name).write_bytes(random.randbytes(mebibytes * MIB // FILES))


def _draft() -> manifests.Manifest:
    return manifests.Manifest(
        kind=manifests.Kind.MODEL,
        name="bench",
        inputs=(),
        compliance=manifests.Compliance(
            license_expression="Apache-2.0",
            license_class=manifests.LicenseClass.PERMISSIVE,
            attribution_required=manifests.Attribution.NO,
        ),
        details={},
        producer=manifests.Producer(image="local", versions={}),
    )


if __name__ == "__main__":
    sys.exit(main())
