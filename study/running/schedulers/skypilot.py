"""A task for SkyPilot, which finds machines in clouds: one node a worker."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from dcgan.config.yaml_files import parse_yaml
from study.running.schedulers.needs import Needs, refuse_local

PROGRAM = ("sky", "jobs", "launch", "-y", "--detach-run")


def script(needs: Needs, options: Mapping[str, str]) -> str:
    """The task; `options` are more keys of its `resources`, such as `accelerators` or `cloud`."""
    refuse_local(needs, "a machine in a cloud")
    resources: dict[str, Any] = {
        "cpus": f"{needs.cpus}+",
        "memory": f"{needs.memory_gib}+",
        "use_spot": True,
    }
    resources |= {"accelerators": "A10:1"} if needs.gpus else {}
    resources |= {key: parse_yaml(value, f"--option {key}") for key, value in options.items()}
    given = needs.given(os.environ)  # SkyPilot refuses variables that are not set
    data = " --data ~/photos" if needs.photos else ""
    task: dict[str, Any] = {
        "name": needs.study,
        "num_nodes": needs.jobs,
        "resources": resources,
        **({"file_mounts": {"~/photos": needs.photos}} if needs.photos else {}),
        "secrets": dict.fromkeys(given),
        "setup": f"pip install 'dcgan-study[{needs.extras}]'",
        "run": f"exec {shlex.join(needs.command)}{data} --store ~/{shlex.quote(needs.study)}",
    }
    flags = " ".join(f"--secret {name}" for name in given)
    return (
        f"# sky jobs launch {flags} THIS_FILE\n"
        "# The values of these variables come from your environment.\n"
    ) + yaml.safe_dump(task, sort_keys=False)
