"""A manifest for Kubernetes: one Job whose pods are workers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from dcgan.errors import UsageError
from study.running.schedulers.needs import Needs, refuse_local

PROGRAM = ("kubectl", "create", "-f", "-")
EVICTED = {"type": "DisruptionTarget", "status": "True"}
"""The condition of a pod that its node or a more important pod has ended."""
# A wrong command, such as other photos than the study's, ends with 2: no retry helps.
RETRIES_EACH = 10
"""Failures of pods, for each of the workers, after which the Job has failed. Evictions are none."""
IMAGE, CUDA_IMAGE = "dcgan-study", "dcgan-study:cuda"
KEPT_SECONDS = 7 * 86400
"""Time after which Kubernetes removes a Job that has ended."""


def script(needs: Needs, options: Mapping[str, str]) -> str:
    """The manifest; of `options` it takes `image`, `namespace` and `photos-claim`.

    Raises `UsageError` for others.
    """
    if unknown := set(options) - {"image", "namespace", "photos-claim"}:
        raise UsageError(
            f"--option {min(unknown)}: a manifest takes image, namespace and photos-claim (the "
            "PersistentVolumeClaim with the photos); edit the rest in the file"
        )
    refuse_local(needs, "a pod")
    if needs.photos_assumed and "photos-claim" not in options:
        raise UsageError(
            f"a pod does not have {needs.photos}: name the PersistentVolumeClaim with the photos "
            "(--option photos-claim=NAME) or their folder in the image (--data)"
        )
    name, where = _name(needs.study), options.get("namespace")
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        # A name of its own for each: one that has ended cannot be sent again.
        "metadata": {"generateName": f"{name}-", **({"namespace": where} if where else {})},
        "spec": {
            "parallelism": needs.jobs,
            "completions": needs.jobs,
            "backoffLimit": RETRIES_EACH * needs.jobs,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [EVICTED]},
                    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2]}},
                ]
            },
            "template": {"spec": _pod(needs, options, name)},
        },
    }
    first = "".join(f"#   {line}\n" for line in secret(needs, options).splitlines())
    return (
        "# Before, once, with what is set in your environment; the first is the database's "
        f"address:\n{first}# Then: {' '.join(PROGRAM[:2])} -f THIS_FILE\n"
        f"{yaml.safe_dump(manifest, sort_keys=False)}"
    )


def secret(needs: Needs, options: Mapping[str, str]) -> str:
    """The command that makes the secret with the variables of the pods."""
    where = f" --namespace {shlex.quote(options['namespace'])}" if "namespace" in options else ""
    # From a file: other users of this machine see the words of a command.
    given = f"--from-env-file=<(env | grep -E '^({'|'.join(needs.variables)})=')"
    make = f"kubectl create secret generic {_name(needs.study)}{where}"
    send = f"kubectl apply{where} -f -"
    set_first = f': "${{{needs.variables[0]}:?is not set}}"'
    return f"{set_first}\n{make} \\\n  {given} \\\n  --dry-run=client -o yaml | {send}"


def _pod(needs: Needs, options: Mapping[str, str], name: str) -> dict[str, Any]:
    limits: dict[str, Any] = {"memory": f"{needs.memory_gib}Gi"}
    limits |= {"nvidia.com/gpu": needs.gpus} if needs.gpus else {}
    claim = options.get("photos-claim")
    photos = "/photos" if claim else needs.photos
    mounts = [{"name": "work", "mountPath": "/results"}]
    volumes: list[dict[str, Any]] = [{"name": "work", "emptyDir": {}}]
    if claim:
        mounts.append({"name": "photos", "mountPath": photos})
        source = {"claimName": claim, "readOnly": True}
        volumes.append({"name": "photos", "persistentVolumeClaim": source})
    worker = {
        "name": "worker",
        "image": options.get("image", CUDA_IMAGE if needs.gpus else IMAGE),
        "imagePullPolicy": "IfNotPresent",
        "command": [*needs.command, *(["--data", photos] if photos else []), "--store", "/results"],
        "envFrom": [{"secretRef": {"name": name}}],
        "resources": {"requests": {"cpu": needs.cpus}, "limits": limits},
        "volumeMounts": mounts,
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": needs.grace_seconds,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000},
        "containers": [worker],
        "volumes": volumes,
    }


def _name(study: str) -> str:
    """A study's name as Kubernetes allows it: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", study.lower()).strip("-")[:50].rstrip("-") or "study"
