"""A Python that has imported everything, for tests that start processes.

Importing torch, Optuna and MLflow takes a process four to eight seconds of processor time, and
tests start some two hundred. Here one process imports them once, at the first request, and runs
every program in a fork of itself: a process of its own, with its own exit code and signals, that is
ready at once.

`Ready.python`, `Ready.study` and `Ready.dcgan` are programs that a test starts as it would start
`sys.executable` and the installed commands. Each is a small real process (`ready_stub.py`) that
stands for its fork: it ends when the fork ends, with the same code or signal, and if it is killed
the fork is killed. `sys.executable` in a fork is `Ready.python`, so that workers, too, are forks.
`python` hands on only `-m MODULE`; anything else is run by the real interpreter. Tests of how a
program starts, and of what it imports, use the real interpreter.

A killed stub and its fork do not end in the same instant. `Process` and `program_of` reach the fork
itself: when it is gone, its stub ends.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import marshal
import os
import pkgutil
import runpy
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

VARIABLE = "DCGAN_TEST_READY"
"""Names the folder of the ready process to the processes of a test run."""
NAMES = ("python", "study", "dcgan")
LATE = (
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "scipy.optimize", "scipy.stats"),
    *("torch.distributed.run", "mlflow.cli", "mlflow.server.fastapi_app", "uvicorn", "psycopg"),
)
"""What programs import inside functions."""
WAIT_SECONDS = 60.0
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Ready:
    """The programs of a ready process."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "python"

    @property
    def study(self) -> Path:
        return self.folder / "study"

    @property
    def dcgan(self) -> Path:
        return self.folder / "dcgan"

    def start(self, name: str, *arguments: object, **options: Any) -> Process:
        """Start one of the programs. Options are those of `subprocess.Popen`."""
        command = [str(self.folder / name), *map(str, arguments)]
        process = Process(command, text=True, **options)
        process.ready = self
        return process

    def program_of(self, pid: int) -> int:
        """The process that runs what a stub stands for; any other process stands for itself."""
        deadline = time.monotonic() + WAIT_SECONDS
        while f"{self.folder}/" in Path(f"/proc/{pid}/cmdline").read_text():
            with suppress(FileNotFoundError):
                return int((self.folder / "programs" / str(pid)).read_text())
            assert time.monotonic() < deadline, f"process {pid} never started its program"
            time.sleep(0.005)
        return pid


class Process(subprocess.Popen[str]):
    """A process started with one of a `Ready`'s programs: signals go to the program itself."""

    ready: Ready

    @property
    def program(self) -> int:
        """The process id that the program has."""
        return self.ready.program_of(self.pid)

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                os.kill(self.program, sig)


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start a ready process that serves the programs it puts into a folder."""
    (folder / "programs").mkdir()
    stub, address = Path(__file__).with_name("ready_stub.py"), folder / "socket"
    for name in NAMES:
        words = [sys.executable, "-IS", str(stub), name, str(address), sys.executable]
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        (folder / name).chmod(0o755)
    path = os.pathsep.join(entry for entry in sys.path if entry)  # the code that tests import
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(64)
        return subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno()), str(folder), str(os.getpid())],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
            pass_fds=(listener.fileno(),),
            start_new_session=True,
        )


# The ready process


def main() -> None:
    """Serve until the process that started this one is gone."""
    listener, folder = socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2])
    del sys.path[0]  # the folder of this file
    Server(listener, folder, int(sys.argv[3])).serve()


class Server:
    """Runs the jobs of stubs in forks."""

    def __init__(self, listener: socket.socket, folder: Path, parent: int) -> None:
        self.listener, self.folder, self.parent = listener, folder, parent
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, self.accept)
        self.stubs: dict[int, socket.socket] = {}
        """By the process id of their fork."""
        self.imported = False

    def serve(self) -> None:
        """Accept jobs, and tell stubs how their forks end."""
        while os.getppid() == self.parent:
            for key, _ in self.selector.select(timeout=1.0):
                key.data()
        shutil.rmtree(self.folder, ignore_errors=True)  # a test run that was killed

    def accept(self) -> None:
        """Start the job of a new stub."""
        stub, _ = self.listener.accept()
        header, streams, _, _ = socket.recv_fds(stub, 8, 3)
        job = b""
        while len(job) < int.from_bytes(header, "big"):
            job += stub.recv(1 << 16)
        if not self.imported:
            import_everything()
            self.imported = True
        name, arguments, cwd, environment, pid = marshal.loads(job)
        fork = os.fork()
        if fork == 0:
            for one in (self.listener, stub, *self.stubs.values()):
                one.close()
            self.selector.close()
            run(self.folder, name, arguments, cwd, environment, streams)
        for stream in streams:
            os.close(stream)
        note = self.folder / "programs" / str(pid)
        note.with_suffix(".new").write_text(str(fork))
        note.with_suffix(".new").rename(note)
        stub.sendall(b"%d\n" % fork)
        self.stubs[fork] = stub
        ended = os.pidfd_open(fork)
        self.selector.register(ended, selectors.EVENT_READ, lambda: self.end(fork, ended, note))
        self.selector.register(stub, selectors.EVENT_READ, lambda: self.orphan(fork, stub))

    def end(self, fork: int, ended: int, note: Path) -> None:
        """Tell a stub that its fork has ended."""
        code = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
        self.selector.unregister(ended)
        os.close(ended)
        stub = self.stubs.pop(fork)
        with suppress(KeyError):
            self.selector.unregister(stub)
        note.unlink(missing_ok=True)
        with suppress(OSError):
            stub.sendall(b"%d\n" % code)
        stub.close()

    def orphan(self, fork: int, stub: socket.socket) -> None:
        """Kill the fork of a stub that was killed."""
        if fork in self.stubs:
            self.selector.unregister(stub)
            os.kill(fork, signal.SIGKILL)


def import_everything() -> None:
    """Import both packages and what they import late."""
    import dcgan
    import study

    for package in (dcgan, study):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LATE:
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def run(
    folder: Path,
    name: str,
    arguments: list[str],
    cwd: str,
    environment: dict[str, str],
    streams: list[int],
) -> NoReturn:
    """Be the program: in a fork, to its end."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # no program outlives the tests
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.executable = str(folder / "python")
    encoding, _, errors = environment.get("PYTHONIOENCODING", "").partition(":")
    text: dict[str, Any] = {"encoding": encoding or None, "errors": errors or None}
    sys.stdin, sys.stdout = open(0), open(1, "w", **text)  # noqa: SIM115
    text["errors"] = "backslashreplace"
    sys.stderr = open(2, "w", buffering=1, **text)  # noqa: SIM115
    code: Any = 0
    try:
        if name == "python":
            module, *rest = arguments
            if "PYTHONSAFEPATH" not in environment:
                sys.path.insert(0, cwd)
            sys.argv = [module, *rest]
            sys.orig_argv = [sys.executable, "-m", *arguments]
            if not hasattr(sys.modules.get(module), "__path__"):  # no package
                sys.modules.pop(module, None)
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(folder))
            sys.argv = [str(folder / name), *arguments]
            sys.orig_argv = [sys.executable, *sys.argv]
            importlib.import_module(f"{name}.cli.app").main()
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as at any end
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else bool(code))


if __name__ == "__main__":
    main()
