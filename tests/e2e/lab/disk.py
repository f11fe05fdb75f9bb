"""
A small disk of a test's own, in a mount namespace that nobody else sees and that goes with the test: it can be filled, and be lost as when the kernel
gives a file system up (read-only from one moment to the next; what was not on stable storage by then is gone).

    disk = Disk(directory, megabytes=60)
    disk.path       where it is for processes that are started behind disk.prefix
    disk.seen       where the test sees the same

An ext4 in a file where there are loop devices, else a tmpfs, which cannot be lost (disk.lossy says which). Needs root.
"""
import contextlib
import os
import pathlib
import subprocess

import pytest

from .process import WAIT_S

HOLD = """
mkdir -p {path}
if [ -n "{image}" ] && truncate -s {size}M {image} && mkfs.ext4 -q -m 0 -N {inodes} -b 4096 -J size=4 {image} && mount -o loop {image} {path}; then echo lossy
else mount -t tmpfs -o size={size}m tmpfs {path} && echo tmpfs; fi
exec cat
"""


class Disk:
    def __init__(self, directory, megabytes=60, lossy=True):
        if os.geteuid() != 0:
            pytest.skip("a disk of its own needs root")
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.image, self.path = self.dir / "image", self.dir / "disk"
        text = HOLD.format(path=self.path, size=megabytes, inodes=200 * megabytes, image=self.image if lossy else "")
        # It ends, and the namespace with it, when its input is closed: when the test ends, however it does.
        self.holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL, text=True, start_new_session=True)
        kind = self.holder.stdout.readline().strip()
        if not kind:
            self.remove()
            pytest.skip("no mount namespace, or nothing to mount")
        self.lossy = kind == "lossy"
        self.prefix = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--"]
        self.seen = pathlib.Path(f"/proc/{self.holder.pid}/root{self.path}")

    def _run(self, *argv):
        subprocess.run([*self.prefix, *map(str, argv)], check=True, capture_output=True, timeout=WAIT_S)

    def fill(self):
        """Until nothing more goes in."""
        with open(self.seen / "filling", "ab", buffering=0) as f:
            for size in (1 << 20, 1 << 16, 1 << 12, 1 << 10):
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(f.fileno(), os.fstat(f.fileno()).st_size, size)

    def free(self):
        with contextlib.suppress(FileNotFoundError):
            (self.seen / "filling").unlink()

    def lose(self):
        """The kernel gives it up."""
        self._run("mount", "-o", "remount,abort", self.path)

    def repair(self):
        """After a reboot, so to say: nobody has it open any more."""
        self._run("umount", self.path)
        subprocess.run(["e2fsck", "-p", str(self.image)], capture_output=True, timeout=WAIT_S)
        self._run("mount", "-o", "loop", self.image, self.path)

    def read_only(self, on):
        """As an administrator does it: nobody has a file open for writing."""
        self._run("mount", "-o", "remount,ro" if on else "remount,rw", self.path)

    def remove(self):
        self.holder.stdin.close()
        self.holder.wait(WAIT_S)
        self.holder.stdout.close()
        with contextlib.suppress(FileNotFoundError):
            self.image.unlink()
