"""Disks that hold results: which are refused, which are doubtful, with a real mount table."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dcgan.errors import UsageError
from study.storage import file_systems
from study.storage.file_systems import disk_doubt, disk_fault, file_system
from study.storage.store import Store

TABLE = """\
/dev/vda1 / ext4 rw 0 0
proc /proc proc rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/me/fast\\040disk xfs rw 0 0
tmpfs /home/me/shm tmpfs rw 0 0
//nas/x /home/me/shm cifs rw 0 0
/dev/sdc1 /mnt/Größe\\040\\134x\\011\\043 btrfs rw 0 0
/dev/sdd1 /mnt/caf\udce9 xfs rw 0 0
mountpoint-s3 /mnt/bucket fuse rw 0 0
sshfs#me@host: /mnt/old fuse rw 0 0
drive: /mnt/rclone fuse.rclone rw 0 0
pool /mnt/merged fuse.mergerfs rw 0 0
/dev/sde1 /mnt/windows fuseblk rw 0 0
x /mnt/mystery fuse.mystery rw 0 0
C:\\134 /mnt/c drvfs rw 0 0
"""


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mount table of a machine that nobody has here."""
    path = tmp_path / "mounts"
    path.write_bytes(os.fsencode(TABLE))
    monkeypatch.setattr(file_systems, "MOUNTS", path)
    return path


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/mlruns", "ext4"),
        ("/homes/me", "ext4"),
        ("/home/me/mlruns", "nfs4"),
        ("/home/me/fast disk/mlruns", "xfs"),
        ("/home/me/shm", "cifs"),  # mounted over another
        ("/mnt/Größe \\x\t#/mlruns", "btrfs"),
        ("/mnt/caf\udce9/mlruns", "xfs"),
        ("/mnt/bucket", "fuse.mountpoint-s3"),
        ("/mnt/old", "fuse.sshfs"),
    ],
)
def test_the_mount_that_covers_a_path_counts(table: Path, path: str, kind: str) -> None:
    assert file_system(Path(path)) == kind
    table.unlink()
    assert file_system(Path(path)) == ""


@pytest.mark.parametrize(
    ("folder", "answer"),
    [
        *(("/home", "fault"), ("/home/me/shm", "fault"), ("/mnt/bucket", "fault")),
        *(("/mnt/old", "fault"), ("/mnt/rclone", "fault"), ("/mnt/c", "fault")),
        *(("/mnt/mystery", "doubt"), ("/mnt/merged", ""), ("/mnt/windows", ""), ("/srv", "")),
    ],
)
def test_which_disks_are_refused(table: Path, folder: str, answer: str) -> None:
    fault, doubt = disk_fault(Path(folder)), disk_doubt(Path(folder))
    assert (fault is not None, doubt is not None) == (answer == "fault", answer == "doubt")


@pytest.mark.parametrize(
    "kind",
    [
        "9p",
        "afs",
        "ceph",
        "cifs",
        "drvfs",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "fuse.blobfuse2",
        "fuse.juicefs",
        "fuse.vmhgfs-fuse",
        "gpfs",
        "lustre",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
    ],
)
def test_a_store_on_a_network_is_refused(table: Path, tmp_path: Path, kind: str) -> None:
    store = Store.at(tmp_path / "mlruns")
    table.write_text(f"server:/export {tmp_path} {kind} rw 0 0\n")
    with pytest.raises(UsageError, match=rf"file system \({kind}\).*local disk with --store"):
        store.create()
    assert not store.root.exists()


@pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode != 0,
    reason="this user cannot mount anything",
)
@pytest.mark.parametrize("name", ["plain", "with space", "Größe 日本", "back\\slash", "caf\udce9"])
def test_a_real_mount_is_found(tmp_path: Path, name: str) -> None:
    """In a mount namespace of its own, which ends with the process."""
    point = tmp_path / name
    point.mkdir()
    program = (
        "import sys; from pathlib import Path; "
        "from study.storage.file_systems import file_system; "
        "print(file_system(Path(sys.argv[1]) / 'mlruns'))"
    )
    shell = 'mount -t ramfs none "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "-Urm", "sh", "-c", shell, "sh", point, sys.executable, program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "ramfs"
