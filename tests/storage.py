"""Storage that DVC shares through, served on loopback: a folder, an SSH server, an S3 server."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

from tests.project import start, wait_for

# Not on everybody's search path.
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
SECRETS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

# What `dvc remote modify` sets of a remote.
Options = dict[str, str]


@contextmanager
def folder(place: Path) -> Iterator[tuple[str, Options]]:
    """Return the address of a folder."""
    yield str(place / "shared"), {}


@contextmanager
def s3(place: Path) -> Iterator[tuple[str, Options]]:
    """Serve S3 to who has SECRETS in the environment; yield the address of a bucket."""
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        boto3.client("s3", "us-east-1", endpoint_url=url).create_bucket(Bucket="cifar10")
        yield "s3://cifar10/shared", {"endpointurl": url}
    finally:
        server.stop()


@contextmanager
def ssh(place: Path) -> Iterator[tuple[str, Options]]:
    """Serve SSH; yield the address of a folder behind it."""
    assert SSHD
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)]
        subprocess.run(command, check=True)
    port = free_port()
    settings = {
        "ListenAddress": "127.0.0.1",
        "Port": port,
        "HostKey": place / "host",
        "AuthorizedKeysFile": place / "user.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "Subsystem": "sftp internal-sftp",
    }
    config = place / "sshd_config"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if os.geteuid() == 0:
        # A system's service makes it, but here none runs.
        Path("/run/sshd").mkdir(exist_ok=True)
    # In a group of its own: the sessions that DVC leaves open outlive the server.
    server = start([SSHD, "-D", "-e", "-f", str(config)], place)
    try:
        wait_for(lambda: listens(port), server)
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{place / 'shared'}"
        yield url, {"keyfile": str(place / "user")}
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def listens(port: int) -> bool:
    """Say whether a server takes connections."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


STORAGES = {"folder": folder, "ssh": ssh, "s3": s3}
