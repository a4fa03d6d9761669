"""An S3 server over HTTP, and a network in front of it."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tenant_ops.backups.stores import opening
from tenant_ops.platform.retry import Patience
from tenant_ops_tests.backups.stores.faulty import Network, network

BUCKET = "backups"
HASTY = Patience(attempts=3, first_s=0.01, longest_s=0.01)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture(scope="session")
def s3_network(s3_server: str) -> Iterator[Network]:
    """The network in front of it; one for all, for to make a driver takes half a second."""
    with network(s3_server) as net:
        yield net


@pytest.fixture
def net(s3_server: str, s3_network: Network, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """The network the environment's S3 is reached through; an empty bucket `backups` is there."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_network.url,
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(opening, "PATIENCE", HASTY)
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    bucket = _bucket(s3_server)
    bucket.create()
    yield s3_network
    s3_network.fault = None
    s3_network.seen.clear()
    bucket.objects.all().delete()
    bucket.delete()


@cache
def _bucket(server: str) -> Any:
    keys = {"aws_access_key_id": "me", "aws_secret_access_key": "s3cret", "region_name": "us-east-1"}
    return boto3.resource("s3", endpoint_url=server, **keys).Bucket(BUCKET)


@pytest.fixture
def objects(net: Network, s3_server: str) -> "Objects":
    """What is really in the bucket."""
    return Objects(_bucket(s3_server).meta.client)


class Objects:
    """The bucket, past the network and the code under test."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __call__(self) -> dict[str, int]:
        """Names and sizes of the objects."""
        found = self._client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return {entry["Key"]: entry["Size"] for entry in found}

    def read(self, key: str) -> bytes:
        return self._client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def put(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=BUCKET, Key=key)

    def uploads(self) -> list[str]:
        """Multipart uploads nobody ended."""
        return [each["Key"] for each in self._client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]
