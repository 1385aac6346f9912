"""The program behind the `python`, `study` and `dcgan` of `ready.py`: started anew by every caller.

It hands its arguments, environment, working folder and standard streams to the ready process,
passes signals on to the fork that runs them, and ends as that fork ends. It imports next to
nothing, so that it starts in about 15 ms.

Its own arguments: the name of the command, the ready process's socket, the real interpreter, and
the arguments of the command.
"""

import _socket
import marshal
import os
import signal
import sys

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Have the command run in a fork of the ready process, and end as it ends."""
    name, address, python, *arguments = sys.argv[1:]
    if name == "python":
        given = [argument for argument in arguments if argument != "-u"]
        if given[:1] != ["-m"]:  # what no fork can stand for: `-c`, `-W`, a script
            os.execv(python, [python, *arguments])
        arguments = given[1:]
    fork, early = 0, []

    def pass_on(number: int, _: object) -> None:
        if fork:
            try:  # noqa: SIM105  # contextlib costs three milliseconds
                os.kill(fork, number)
            except ProcessLookupError:
                pass
        else:
            early.append(number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    server.connect(address)
    cwd = os.getcwd()  # noqa: PTH109
    job = marshal.dumps((name, arguments, cwd, dict(os.environ), os.getpid()))
    streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    header = len(job).to_bytes(8, "big")
    server.sendmsg([header], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
    sent = 0
    while sent < len(job):
        sent += server.send(job[sent:])
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):  # the pipes are the fork's alone
        os.dup2(nothing, number)
    fork = int(receive_line(server))
    for number in early:
        pass_on(number, None)
    code = int(receive_line(server))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
        signal.pause()
    os._exit(code)


def receive_line(server: "_socket.socket") -> str:
    """One line of an answer.

    Raises:
        SystemExit: the ready process is gone.
    """
    line = b""
    while not line.endswith(b"\n"):
        byte = server.recv(1)
        if not byte:
            os._exit(70)
        line += byte
    return line.decode()


main()
