"""What both commands share: entry points, `--version`, shell completion, a quick `--help`."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

COMMANDS = {"dcgan": "generate", "study": "relocate"}
"""Each command with one of its own subcommands."""


def script(command: str) -> str:
    """The installed script that a user's shell finds."""
    found = shutil.which(command, path=str(Path(sys.executable).parent))
    assert found, f"{command} is not installed beside {sys.executable}"
    return found


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("command", COMMANDS)
def test_version_names_release_and_commit_and_loads_nothing_heavy(command: str) -> None:
    code = (
        f"import sys; from {command}.cli.app import app\n"
        "try: app(['--version'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({'torch', 'optuna', 'mlflow', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    shown, heavy = run(sys.executable, "-c", code).stdout.splitlines()
    assert heavy == "[]"
    assert shown.startswith(f"dcgan-study {version('dcgan-study')}")
    checkout = Path(__file__).parents[1]
    if (checkout / ".git").exists():
        commit = run("git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD").stdout.strip()
        assert f"({commit}" in shown


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("module", ["", ".cli"])
def test_modules_start_as_the_script_does(command: str, module: str) -> None:
    shown = run(sys.executable, "-m", f"{command}{module}", "--version")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == run(script(command), "--version").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_complete_and_quick(command: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = run(script(command), "--help", COLUMNS="100")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 0.5
    for expected in ("--version", "--install-completion", "--show-completion", COMMANDS[command]):
        assert expected in shown.stdout
    assert all(len(line) <= 100 for line in shown.stdout.splitlines())


@pytest.mark.parametrize("command", COMMANDS)
def test_no_arguments_show_the_help(command: str) -> None:
    shown = run(script(command))
    assert shown.returncode == 2
    assert "Usage: " in shown.stdout + shown.stderr


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "complete -o default -F _{name}_completion {name}"),
        ("zsh", "#compdef {name}"),
        ("fish", "complete --command {name} "),
    ],
)
def test_completion_scripts_come_out(command: str, shell: str, line: str) -> None:
    asked = {f"_{command.upper()}_COMPLETE": f"source_{shell}"}
    shown = run(script(command), **asked)
    assert shown.returncode == 0, shown.stderr
    assert line.format(name=command) in shown.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_show_completion_knows_the_shell_it_runs_in(command: str) -> None:
    bash = shutil.which("bash")
    assert bash
    shown = run(bash, "-c", f"'{script(command)}' --show-completion; exit $?")
    assert shown.returncode == 0, shown.stderr
    assert f"-F _{command}_completion {command}" in shown.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_bash_completes_subcommands(command: str) -> None:
    subcommand = COMMANDS[command]
    asked = {f"_{command.upper()}_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    shown = run(script(command), **asked, COMP_WORDS=f"{command} {subcommand[:3]}")
    assert shown.stdout.split() == [subcommand]
