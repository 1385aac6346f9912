"""A manifest for Kubernetes: one Job whose pods are workers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from dcgan.errors import UsageError
from study.running.schedulers.needs import Needs

PROGRAM = ("kubectl", "apply", "-f", "-")
EVICTED = {"type": "DisruptionTarget", "status": "True"}
"""The condition of a pod that its node or a more important pod has ended."""
# A wrong command, such as other photos than the study's, ends with 2: no retry helps.
RETRIES_EACH = 10
"""Failures of pods, for each of the workers, after which the Job has failed. Evictions are none."""
IMAGE = "dcgan-study"


def script(needs: Needs, options: Mapping[str, str]) -> str:
    """The manifest; of `options` it takes `image`, `namespace` and `photos-claim`.

    Raises `UsageError` for others.
    """
    if unknown := set(options) - {"image", "namespace", "photos-claim"}:
        raise UsageError(
            f"--option {min(unknown)}: a manifest takes image, namespace and photos-claim (the "
            "PersistentVolumeClaim with the photos); edit the rest in the file"
        )
    name, where = _name(needs.study), options.get("namespace")
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, **({"namespace": where} if where else {})},
        "spec": {
            "parallelism": needs.jobs,
            "completions": needs.jobs,
            "backoffLimit": RETRIES_EACH * needs.jobs,
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
        f"address:\n{first}{yaml.safe_dump(manifest, sort_keys=False)}"
    )


def secret(needs: Needs, options: Mapping[str, str]) -> str:
    """The command that makes the secret with the variables of the pods."""
    first, *others = needs.variables
    where = f" --namespace {options['namespace']}" if "namespace" in options else ""
    given = [f'--from-literal={first}="${first}"']
    given += [f'${{{key}:+--from-literal={key}="${key}"}}' for key in others]
    named = f"kubectl create secret generic {_name(needs.study)}{where}"
    return " \\\n  ".join([named, *given])


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
        "image": options.get("image", IMAGE),
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
