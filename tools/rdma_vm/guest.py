"""Boots a stock Debian kernel in QEMU, without KVM, with soft-RoCE in it, and runs a command there.

The guest sees the host's files at their own paths, read-only under a layer of memory, and one shared folder that it
may write. Nothing is installed: the kernel's package is unpacked into build/rdma_vm/, and what the guest boots from
is made there once. Only function and faults can be judged so: the guest is some ten times slower than its host.

Programs of the release build run in it as they are: only kernels choose their instructions, at run time.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

from tools import process, results

HERE = Path(__file__).resolve().parent
CACHE = results.ROOT / "build" / "rdma_vm"
NO_RESULT = 125  # the guest did not come to its end
# crc32_generic is needed and named by no other module.
MODULES = [
    "virtio_pci",
    "9pnet_virtio",
    "9p",
    "overlay",
    "virtio_net",
    "af_packet",
    "veth",
    "bridge",
    "sch_netem",
    "crc32c_generic",
    "crc32c-intel",
    "libcrc32c",
    "crc32_generic",
    "crc32-pclmul",
    "rdma_rxe",
    "ib_uverbs",
]
FOLDERS = [
    "crypto",
    "arch/x86/crypto",
    "lib",
    "net",
    "fs/9p",
    "fs/netfs",
    "fs/fscache",
    "fs/overlayfs",
    "fs/configfs",
    "drivers/virtio",
    "drivers/net/*.ko",
    "drivers/infiniband/core",
    "drivers/infiniband/sw",
]
PROGRAMS = ("qemu-system-x86_64", "busybox", "depmod", "cpio", "dpkg-deb", "ip", "rdma", "tc")


def why_not() -> str:
    """What is missing to boot a guest; empty if nothing is."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    return (
        f"not found: {', '.join(missing)} (tools/setup/debian-long.txt, ./dev setup long)"
        if missing
        else ""
    )


def _output(*command: str, cwd: Path | None = None) -> str:
    return subprocess.run(
        command, cwd=cwd, check=True, capture_output=True, text=True, timeout=600
    ).stdout


def _unpack_kernel() -> tuple[Path, str]:
    """Where the kernel's files lie, and its version."""
    depends = _output("apt-cache", "depends", "linux-image-amd64")
    match = re.search(r"Depends: (linux-image-(\S+))", depends)
    if not match:
        raise RuntimeError("apt knows no linux-image-amd64")
    package, version = match.groups()
    kernel = CACHE / version
    if (kernel / "complete").exists():
        return kernel, version
    shutil.rmtree(kernel, ignore_errors=True)
    kernel.mkdir(parents=True)
    _output("apt-get", "-qq", "download", package, cwd=CACHE)
    archive = next(CACHE.glob(f"{package}_*.deb"))
    wanted = ["./boot/vmlinuz-*", f"./lib/modules/{version}/modules.*"]
    wanted += [f"./lib/modules/{version}/kernel/{folder}*" for folder in FOLDERS]
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE
    ) as tar:
        subprocess.run(
            ["tar", "-x", "-C", str(kernel), "--wildcards", *wanted],
            stdin=tar.stdout,
            check=True,
            timeout=600,
        )
    archive.unlink()
    subprocess.run(
        ["depmod", "-b", str(kernel), version], check=True, timeout=120, capture_output=True
    )
    (kernel / "complete").touch()
    return kernel, version


def _in_order(kernel: Path, version: str) -> list[Path]:
    """The files of MODULES and of what they need, each behind what it needs itself."""
    files: list[Path] = []
    for name in MODULES:
        said = subprocess.run(
            ["modprobe", "-d", str(kernel), "-S", version, "--show-depends", name],
            capture_output=True,
            text=True,
            timeout=60,
        )
        for line in said.stdout.splitlines():
            # "builtin NAME" is in the kernel already.
            if line.startswith("insmod ") and (path := Path(line.split()[1])) not in files:
                files.append(path)
    return files


def prepare() -> tuple[Path, Path]:
    """The kernel's image and what it boots from, made where they are missing."""
    kernel, version = _unpack_kernel()
    image = next((kernel / "boot").glob("vmlinuz-*"))
    archive = CACHE / f"initramfs-{version}.gz"
    if archive.exists() and archive.stat().st_mtime > (HERE / "init.sh").stat().st_mtime:
        return image, archive
    root = CACHE / "initramfs"
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("bin", "dev", "proc", "sys", "new", "modules", "lower", "upper"):
        (root / folder).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", root / "bin" / "busybox")
    shutil.copy(HERE / "init.sh", root / "init")
    (root / "init").chmod(0o755)
    order = []
    for path in _in_order(kernel, version):
        shutil.copy(path, root / "modules")
        order.append(path.name)
    (root / "modules" / "order").write_text("".join(f"{name}\n" for name in order))
    names = "".join(f"{path.relative_to(root)}\n" for path in [root, *sorted(root.rglob("*"))])
    packed = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"],
        cwd=root,
        input=names.encode(),
        check=True,
        stdout=subprocess.PIPE,
        timeout=120,
    ).stdout
    archive.write_bytes(gzip.compress(packed, 1))
    return image, archive


def run(share: Path, command: str, limit: float, log: Path) -> int:
    """Runs the script `command` of the folder `share` in a new guest; its exit code, or NO_RESULT."""
    image, archive = prepare()
    share = share.resolve()
    code = share / "exit-code"
    code.unlink(missing_ok=True)
    memory = "security_model=none,multidevs=remap"
    arguments = [
        # /dev/kvm may be there and not boot a stock kernel.
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-M", "q35"),
        *("-smp", "2", "-m", "3072", "-nodefaults", "-no-reboot", "-display", "none"),
        *("-serial", "stdio", "-kernel", str(image), "-initrd", str(archive), "-append"),
        "console=ttyS0 quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on"
        f" guest.share={share} guest.command={command}",
        *("-virtfs", f"local,path=/,mount_tag=host,readonly=on,{memory}"),
        *("-virtfs", f"local,path={share},mount_tag=share,{memory}"),
    ]
    process.run(arguments, limit, cwd=Path(os.sep), log=log)
    try:
        return int(code.read_text())
    except (OSError, ValueError):
        return NO_RESULT
