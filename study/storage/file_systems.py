"""What kind of disk a folder is on. SQLite's locks are unreliable on network disks.

See https://sqlite.org/lockingv3.html and https://sqlite.org/howtocorrupt.html.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")

_SERVERS = """9p acfs afs beegfs ceph cifs coda davfs fhgfs glusterfs gpfs lustre ncpfs nfs nfs4
orangefs panfs pvfs2 smb3 smbfs wekafs"""
_SHARED_BY_HOST = "drvfs fakeowner osxfs prl_fs vboxsf virtiofs vmhgfs"
"""Folders of a host that a virtual machine or a container of Docker Desktop sees."""
_FUSE = """afs alluxio-fuse avfs-fuse blobfuse blobfuse2 ceph ceph-fuse cephfs curlftpfs davfs
davfs2 dbxfs dfuse fuse_dfs fuse-nfs gcsfuse geesefs glusterfs goofys google-drive-ocamlfuse
grpcfuse gvfsd-fuse hdfs httpfs ifuse jmtpfs juicefs kio-fuse ltfs megafs mfs moosefs mount-s3
mountpoint-s3 nfs onedriver osxfs pcloud portal prl_fsd rclone rclonefs s3backer s3fs s3ql
seaweedfs simple-mtpfs smbnetfs sshfs tigrisfs vmhgfs-fuse wdfs weed"""
_LOCAL_FUSE = """apfs-fuse appimage bcachefs bindfs cryfs dislocker encfs exfat exfat-fuse ext2 ext4
fuse-ext2 fuse-overlayfs fuse2fs gocryptfs hfsfuse lxcfs mergerfs mhddfs ntfs ntfs-3g ntfs3
overlayfs overlay2 snapfuse squashfuse squashfuse_ll unionfs unionfs-fuse veracrypt vdfs xfs
zfs zfs-fuse"""

NETWORK = frozenset(
    (*_SERVERS.split(), *_SHARED_BY_HOST.split(), *(f"fuse.{name}" for name in _FUSE.split()))
)
"""File systems on which two processes can damage a database."""
LOCAL_FUSE = frozenset(("fuseblk", *(f"fuse.{name}" for name in _LOCAL_FUSE.split())))
"""File systems of user-space programs that keep files on a local disk."""


def disk_fault(folder: Path) -> str | None:
    """Why databases cannot be kept in a folder, because of its file system."""
    kind = file_system(folder)
    if kind not in NETWORK:
        return None
    return (
        f"{folder} is on a network file system ({kind}), where two processes can damage a database"
    )


def disk_doubt(folder: Path) -> str | None:
    """Why databases may be at risk in a folder: a program serves it, and this module knows none."""
    kind = file_system(folder)
    if kind.partition(".")[0] != "fuse" or kind in LOCAL_FUSE | NETWORK:
        return None
    return (
        f"{folder} is on a disk that a program serves ({kind}); if its files are on another "
        "machine, two processes can damage a database there"
    )


def file_system(path: Path) -> str:
    """Linux's name for the file system of an absolute path; empty if unknown."""
    try:
        lines = MOUNTS.read_bytes().splitlines()
    except OSError:
        return ""
    found, kind = -1, ""
    for line in lines:
        source, point, name, *_ = (_decoded(field) for field in line.split(b" "))
        if path.is_relative_to(point) and len(point) >= found:  # the last one covers the others
            found, kind = len(point), name
            program = f"fuse.{source.partition('#')[0]}"  # as `mountpoint-s3`, or `sshfs#host:`
            if name == "fuse" and program in NETWORK | LOCAL_FUSE:
                kind = program
    return kind


def _decoded(field: bytes) -> str:
    """A field of the table, where spaces and some other bytes are three octal digits."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda digits: bytes([int(digits[1], 8)]), field))
