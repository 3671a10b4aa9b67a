"""An image built by buildah, and programs that run in it as in a hardened container.

    mmdebstrap ─> base ─┐
    deploy/Dockerfile ──┴─ buildah, isolated by chroot ─> image ─> unshare, chroot, setpriv ─> program

No daemon and no registry takes part. The base is Debian's Python in place of the one that the Dockerfile
names. A program runs as uid 10001 in namespaces of its own; the root is read-only, /tmp is in memory, and no
privilege is left. It needs root, as mounts do.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "image"
NEEDED = ("buildah", "mmdebstrap", "unshare")
SUITE = "bookworm"
PACKAGES = "ca-certificates,python-is-python3,python3,python3-dev,python3-venv"
BASE, IMAGE = "localhost/detector-base", "localhost/detector"
USER = 10001
BUILD_S = 3600.0
# How this machine reaches its package index, if it says so; seen by the build, never part of the image.
PIP_CONFIG = Path("/etc/pip.conf")
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")

_ENTER = """
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=755,size=64k tmpfs "$1/dev"
for name in null zero full random urandom; do
    touch "$1/dev/$name"
    mount --bind "/dev/$name" "$1/dev/$name"
done
mkdir "$1/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
root=$1; user=$2; shift 2
exec chroot "$root" setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs --inh-caps=-all \
    --bounding-set=-all -- "$@"
"""


class ImageUnavailable(Exception):
    """The image cannot be built here."""


def _buildah(*arguments: str) -> str:
    command = ["buildah", "--root", str(BUILD / "store"), "--runroot", str(BUILD / "run"), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=BUILD_S)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {(done.stdout + done.stderr)[-3000:]}")
    return done.stdout.strip()


def build() -> None:
    """Build the base, unless it is there, and the image.

    Raises
    ------
    ImageUnavailable
        A program is missing, or this is not root.
    """
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        raise ImageUnavailable(f"needs {', '.join(missing)}")
    if os.geteuid():
        raise ImageUnavailable("needs root, to mount")
    BUILD.mkdir(parents=True, exist_ok=True)
    archive = BUILD / "base.tar"
    if not archive.exists():
        fresh = archive.with_suffix(".new.tar")
        options = ["--variant=minbase", f"--include={PACKAGES}"]
        subprocess.run(["mmdebstrap", *options, SUITE, str(fresh)], check=True, timeout=BUILD_S)
        fresh.rename(archive)
    if BASE not in _buildah("images", "--format", "{{.Name}}"):
        container = _buildah("from", "scratch")
        _buildah("add", container, str(archive), "/")
        _buildah("commit", "--rm", container, BASE)
    seen = [f"--volume={path}:{path}:ro" for path in (PIP_CONFIG, AUTHORITIES) if path.exists()]
    _buildah(
        "build", "--layers", "--isolation", "chroot", "--pull-never", "--build-arg", f"BASE={BASE}", *seen,
        "--ignorefile", "deploy/Dockerfile.dockerignore", "-f", "deploy/Dockerfile", "-t", IMAGE, ".",
    )  # fmt: skip


class Image:
    """The image's files, mounted with the block."""

    def __enter__(self) -> Image:
        self._container = _buildah("from", "--pull-never", IMAGE)
        self.root = Path(_buildah("mount", self._container))
        self.config = json.loads(_buildah("inspect", "--type", "image", IMAGE))["OCIv1"]["config"]
        return self

    def __exit__(self, *_: object) -> None:
        _buildah("rm", self._container)

    def start(self, command: Sequence[str], **environment: str) -> subprocess.Popen[str]:
        """Start a program with the image's user, environment and working directory."""
        variables = dict(pair.split("=", 1) for pair in self.config["Env"]) | environment
        user = self.config["User"].partition(":")[0]
        inside = ["env", "-i", "-C", self.config["WorkingDir"], *(f"{k}={v}" for k, v in variables.items())]
        return subprocess.Popen(
            ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "sh", "-c", _ENTER,
             "sh", str(self.root), user, *inside, *command],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, command: Sequence[str], limit_s: float = 300.0) -> tuple[int, str]:
        """Run a program; exit code and everything that it said."""
        process = self.start(command)
        said, _ = process.communicate(timeout=limit_s)
        return process.returncode, said
