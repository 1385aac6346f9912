"""Real servers on this machine, for benchmarks and tests: PostgreSQL, MLflow and S3."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOCAL = "127.0.0.1"
PASSWORD = "a-password"
WAIT_SECONDS = 90


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def children(pid: int) -> list[int]:
    """The child processes of a process, oldest first."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append((int(fields[19]), int(stat.parent.name)))
    return [number for _, number in sorted(found)]


def postgres_programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`; None if PostgreSQL is not installed."""
    found = [Path(path).resolve().parent for path in [shutil.which("pg_ctl")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "initdb").exists()), None)


class Postgres:
    """A PostgreSQL server with a database `study`, reached by `url`.

    `prefix` is what a command begins with on the machine with the address `host`.
    """

    def __init__(
        self, programs: Path, folder: Path, host: str = LOCAL, prefix: tuple[str, ...] = ()
    ) -> None:
        self.programs, self.folder, self.host, self.prefix = programs, folder, host, prefix
        self.data, self.port = folder / "data", free_port()
        # PostgreSQL refuses to run as root.
        self.user = "postgres" if os.getuid() == 0 else None
        if self.user:
            folder.chmod(0o755)
            owner = pwd.getpwnam(self.user)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        self.url = f"postgresql://study:{PASSWORD}@{host}:{self.port}/study"
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run("initdb", "-A", "scram-sha-256", "-U", "study", "--pwfile", str(secret))
        with (self.data / "pg_hba.conf").open("a") as access:
            access.write("host all study samenet scram-sha-256\n")
        self.start()
        self._run("createdb", "-h", host, "-p", str(self.port), "-U", "study", "study")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses={self.host} -c fsync=off -k {self.folder}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "-w", "-l", log, "-o", options)

    def stop(self) -> None:
        """Stop at once; connections break as in a crash."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate")

    def _run(self, program: str, *arguments: str) -> None:
        environment = {**os.environ, "PGDATA": str(self.data), "PGPASSWORD": PASSWORD}
        command = [*self.prefix, str(self.programs / program), *arguments]
        if self.user and self.prefix:  # root alone may enter another network
            command[len(self.prefix) : len(self.prefix)] = ["runuser", "-u", self.user, "--"]
        with (self.folder / "output").open("w") as output:
            try:
                subprocess.run(
                    command,
                    env=environment,
                    user=None if self.prefix else self.user,
                    cwd=self.folder,
                    stdout=output,
                    stderr=output,
                    check=True,
                )
            except subprocess.CalledProcessError as error:
                said = (self.folder / "output").read_text()
                raise RuntimeError(f"{program} failed: {said}") from error


@contextmanager
def postgres(host: str = LOCAL, prefix: tuple[str, ...] = ()) -> Iterator[Postgres]:
    """Start a new PostgreSQL server; stop and delete it at the end. The arguments are its own.

    Raises:
        RuntimeError: PostgreSQL is not installed.
    """
    programs = postgres_programs()
    if programs is None:
        raise RuntimeError("PostgreSQL (initdb, pg_ctl) is not installed")
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = Postgres(programs, Path(folder), host, prefix)
        try:
            yield server
        finally:
            server.stop()


class MlflowServer:
    """An MLflow tracking server that also stores artifacts, as a team runs it.

    Args:
        folder: Where the database and the artifacts go.
        python: The interpreter that runs the server.
        group_of: Gives the process group of the server from the process id of `python`.
        host: The address that it serves.
        prefix: What a command begins with on the machine that has it.
    """

    def __init__(
        self,
        folder: Path,
        python: str = sys.executable,
        group_of: Callable[[int], int] = lambda pid: pid,
        host: str = LOCAL,
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.folder, self.python, self.group_of = folder, python, group_of
        self.host, self.prefix, self.port = host, prefix, free_port()
        self.uri = f"http://{host}:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [*self.prefix, self.python, "-m", "mlflow", "server", "--host", self.host]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("w") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **quiet, "PYTHONWARNINGS": "ignore"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            if self.answers():
                return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "server.log").read_text())

    def answers(self) -> bool:
        """Return whether the server serves requests now."""
        try:
            urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
        except (urllib.error.URLError, OSError):
            return False
        return True

    def stop(self) -> None:
        """Kill the server and its child processes, and wait until they are gone."""
        if self.process:
            os.killpg(self.group_of(self.process.pid), 9)
            self.process.wait()
            self.process = None
            while self.answers():
                time.sleep(0.01)


@contextmanager
def mlflow_server(
    python: str = sys.executable,
    group_of: Callable[[int], int] = lambda pid: pid,
    host: str = LOCAL,
    prefix: tuple[str, ...] = (),
) -> Iterator[MlflowServer]:
    """Start a new MLflow server; stop and delete it at the end. The arguments are the server's."""
    with tempfile.TemporaryDirectory(prefix="mlflow", ignore_cleanup_errors=True) as folder:
        server = MlflowServer(Path(folder), python, group_of, host, prefix)
        server.start()
        try:
            yield server
        finally:
            server.stop()


class S3Server:
    """A server that speaks S3 (moto's). `variables` tell boto3 and s3fs where it is."""

    def __init__(self) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.variables = {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{self.address}/moto-api/", timeout=5).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise
                time.sleep(0.1)

    def make_bucket(self, name: str) -> str:
        """A new bucket; returns its address."""
        request = urllib.request.Request(f"{self.address}/{name}", method="PUT")
        urllib.request.urlopen(request, timeout=30).close()
        return f"s3://{name}"

    def stop(self) -> None:
        """End it with all that it holds."""
        self.process.kill()
        self.process.wait()
