"""The programs a cluster needs, and their installation from Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .failure import ClusterError

PROGRAMS = ("munged", "mariadbd", "mariadb-install-db", "slurmctld", "slurmd", "slurmdbd", "sbatch", "sacct")
PACKAGES = (
    "slurmctld",
    "slurmd",
    "slurm-client",
    "slurmdbd",
    "slurm-wlm-mysql-plugin",
    "munge",
    "mariadb-server",
)
SERVICES = ("slurmctld", "slurmd", "slurmdbd", "munge", "mariadb")
POLICY = Path("/usr/sbin/policy-rc.d")


def missing() -> list[str]:
    """The programs that aren't installed."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    return [program for program in PROGRAMS if not shutil.which(program, path=path)]


def install() -> bool:
    """Install what is missing; False if nothing was.

    No new service starts, now or at the next boot. Raises ClusterError where this
    machine has no apt-get or we aren't root.
    """
    absent = missing()
    if not absent:
        return False
    if not shutil.which("apt-get"):
        raise ClusterError(
            f"missing: {', '.join(absent)}; install Slurm with slurmdbd, munge and MariaDB", code=2
        )
    if os.geteuid() != 0:
        raise ClusterError(
            f"missing: {', '.join(absent)}; run as root: tools/slurm/cluster install"
            f" (or: apt-get install --no-install-recommends {' '.join(PACKAGES)})",
            code=2,
        )
    known = [service for service in SERVICES if _unit(service).exists()]
    policy = not POLICY.exists()
    try:
        if policy:
            POLICY.write_text("#!/bin/sh\nexit 101\n")
            POLICY.chmod(0o755)
        _apt("update")
        _apt("install", "--yes", "--no-install-recommends", *PACKAGES)
    finally:
        if policy:
            POLICY.unlink(missing_ok=True)
    new = [service for service in SERVICES if service not in known and _unit(service).exists()]
    if new and shutil.which("systemctl"):
        subprocess.run(
            ["systemctl", "--quiet", "disable", *new], capture_output=True, check=False, timeout=60
        )
    if absent := missing():
        raise ClusterError(f"installed {' '.join(PACKAGES)}, but still missing: {', '.join(absent)}")
    return True


def _unit(service: str) -> Path:
    return Path(f"/lib/systemd/system/{service}.service")


def _apt(*arguments: str) -> None:
    result = subprocess.run(
        ["apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=120", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    if result.returncode:
        lines = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("E:")] or lines or ["no message"]
        raise ClusterError(f"apt-get {arguments[0]} failed: {errors[0]}", code=2)
