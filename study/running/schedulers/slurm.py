"""A batch script for Slurm: an array of jobs, each a worker."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from study.running.schedulers.needs import Needs

PROGRAM = ("sbatch",)
ARRAY_PLACE = "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"


def script(needs: Needs, options: Mapping[str, str]) -> str:
    """The script; `options` are further ones of `sbatch`, by their long names."""
    asked = {
        "job-name": needs.study,
        "array": f"0-{needs.jobs - 1}",
        "cpus-per-task": str(needs.cpus),
        "mem": f"{needs.memory_gib}G",
        "time": f"{needs.minutes // 60:02d}:{needs.minutes % 60:02d}:00",
        "signal": f"B:USR1@{needs.grace_seconds}",
        "open-mode": "append",
        **({"gres": "gpu:1"} if needs.gpus else {}),
        **options,
    }
    lines = [
        f"#SBATCH --{key}={shlex.quote(value)}" if value else f"#SBATCH --{key}"
        for key, value in asked.items()
    ]
    data = f" --data {shlex.quote(needs.photos)}" if needs.photos else ""
    where = f"{needs.study}-$SLURM_ARRAY_JOB_ID-$SLURM_ARRAY_TASK_ID"
    return "\n".join(
        [
            "#!/bin/bash",
            *lines,
            "#SBATCH --requeue",
            "",
            "# The study's database, with its password, comes from the environment of sbatch.",
            *(f': "${{{name}:?is not set}}"' for name in needs.variables[:1]),
            "",
            "# Each job has a results folder of its own on its node.",
            f'store="${{SLURM_TMPDIR:-${{TMPDIR:-/tmp}}}}/{where}"',
            f'{shlex.join(needs.command)}{data} --store "$store" &',
            "worker=$!",
            "",
            f"# USR1 comes {needs.grace_seconds} s before the time is up. The worker then saves a",
            "# checkpoint and returns its trial, and the job is queued again. At a TERM, as of",
            "# scancel, the worker does the same by itself, and the job ends.",
            "again=",
            "trap 'again=1; kill -TERM \"$worker\" 2> /dev/null' USR1",
            "trap : TERM",
            "code=0",
            'while kill -0 "$worker" 2> /dev/null; do wait "$worker"; code=$?; done',
            "# By its place in the array: the job's own number may be that of the whole array.",
            f'if [ "$again" ]; then scontrol requeue "{ARRAY_PLACE}"; fi',
            'exit "$code"',
            "",
        ]
    )
