"""Virtual machines: how long one boots beside the bare kernel, what a container in one costs beside the sandbox, memory,
and throughput of the streams."""

import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from harness import *
from uvm import Archive

RUN = "run --rm, by home"
EXEC = "exec, by home"
BOOT = "machine boot"
MEMORY = "memory of machines"
ROUNDS = 5
MIB = 64


def floor(path):
    """An initrd whose init prints one line and switches off."""
    archive = Archive()
    for name in ("bin", "dev"):
        archive.add(name, 0o40755)
    archive.add("dev/console", 0o20600, device=(5, 1))
    archive.add("bin/busybox", 0o100755, open("/bin/busybox", "rb").read())
    archive.add("init", 0o100755, b"#!/bin/busybox sh\necho up\nexec /bin/busybox poweroff -f\n")
    with open(path, "wb") as file:
        file.write(archive.finish())


def argument(pid, name):
    words = open(f"/proc/{pid}/cmdline").read().split("\0")
    return words[words.index(name) + 1]


def bare_kernel(line, processor, initrd):
    """The machine of the emulator without the devices that its containers need."""
    return [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-machine", "q35,memory-backend=ram,sata=off,smbus=off,vmport=off,usb=off,graphics=off",
        "-accel", "tcg,thread=multi", "-cpu", processor, "-smp", str(os.cpu_count()), "-m", "512M",
        "-object", "memory-backend-memfd,id=ram,share=on,size=512M",
        "-kernel", f"{args.uvm}/vmlinux", "-initrd", initrd, "-append", line,
        "-chardev", "stdio,id=console,signal=off", "-device", "isa-serial,chardev=console",
    ]


def answered(house):
    """How long the youngest machine took until its agent had negotiated, by its shim's log."""
    folders = [f"{house.run_dir}/sandboxes/{name}" for name in os.listdir(f"{house.run_dir}/sandboxes")]
    newest = max(folders, key=os.path.getctime)
    found = re.search(r"guest agent answers.* milliseconds=(\d+)", open(f"{newest}/shim.log").read())
    return float(found.group(1))


def qemu(house):
    """The process of a daemon's only machine."""
    machine = run(ours("system", "vm", "ls", "-q", "--no-trunc"), house.env).split()[0]
    return next(processes("qemu-system", machine))


def wait_for_pool(house):
    """Until a machine is ready and the host is quiet again."""
    for _ in range(600):
        listed = run(ours("system", "vm", "ls", "--format", "{{.Scope}}"), house.env).split()
        if "pool" in listed:
            time.sleep(0.5)
            return
        time.sleep(0.1)
    raise SystemExit("bench: the pool does not fill")


def throughput(what, words, home, env, source=None):
    start = time.perf_counter()
    with open(source or os.devnull, "rb") as stdin:
        done = subprocess.run(words, env={**os.environ, **env}, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise SystemExit(f"bench: {' '.join(words)} failed:\n{done.stderr.decode()}")
    add(what, home, MIB / (time.perf_counter() - start), "MiB/s")


def measure(port, names):
    busybox = names["busybox"]
    flags = ["--uvm-dir", args.uvm, "--uvm-accelerator", "tcg"]
    settings = f"{args.state}/pool.toml"
    with open(settings, "w") as file:
        file.write("[uvm]\npool = 1\n")
    plain = Daemon("sandbox", *flags, log="info")
    shared = Daemon("shared", *flags, "--uvm-shared", log="info")
    homes = {"sandbox": plain, "warm shared machine": shared}
    for house in homes.values():
        run(ours("pull", busybox), house.env)
        run(ours("run", "-d", "--name", "bench", busybox, "sleep", "100000"), house.env)

    # The boot, beside the same kernel with nothing to do.
    initrd = f"{args.state}/floor.img"
    floor(initrd)
    isolated = ours("run", "-d", "--isolation", "hyperv", "--name", "isolated", busybox, "sleep", "100000")
    line = None
    for _ in range(ROUNDS):
        run(isolated, plain.env)
        add(BOOT, "start to negotiated protocol", answered(plain), "ms")
        line = line or argument(qemu(plain), "-append").split(" -- ")[0]
        processor = argument(qemu(plain), "-cpu")
        run(ours("rm", "-f", "isolated"), plain.env)
        wait_for_no_machine(plain)
        add(BOOT, "the same kernel, prints and powers off", milliseconds(bare_kernel(line, processor, initrd)), "ms")

    # A whole run, and another process.
    once = ours("run", "--rm", busybox, "true")
    for _ in range(3):
        for house in homes.values():
            run(once, house.env)
    for _ in range(args.runs):
        for home, house in homes.items():
            add(RUN, home, milliseconds(once, house.env), "ms")
            add(EXEC, home, milliseconds(ours("exec", "bench", "true"), house.env), "ms")
    own = ours("run", "--rm", "--isolation", "hyperv", busybox, "true")
    for _ in range(ROUNDS):
        add(RUN, "machine of its own, cold", milliseconds(own, plain.env), "ms")
        wait_for_no_machine(plain)

    # Streams and files.
    payload = f"{args.state}/payload"
    with open(payload, "wb") as file:
        file.write(os.urandom(1 << 20) * MIB)
    for house in homes.values():
        run(ours("cp", payload, "bench:/payload"), house.env)
    for _ in range(3):
        for home, house in homes.items():
            throughput("stdout of exec", ours("exec", "bench", "cat", "/payload"), home, house.env)
            throughput("stdin of exec", ours("exec", "-i", "bench", "sh", "-c", "cat >/dev/null"), home, house.env, payload)
            throughput("cp out", ours("cp", "bench:/payload", "-"), home, house.env)
            throughput("cp in", ours("cp", payload, "bench:/payload"), home, house.env)
    for house in homes.values():
        run(ours("exec", "bench", "rm", "/payload"), house.env)

    # Memory, after what was freed went back to the host.
    def memory(count):
        time.sleep(8)
        add(MEMORY, f"host, {count}", resident(qemu(shared))["Rss"] / 1024, "MiB")
        rows = run(ours("system", "vm", "shell", "bench", "free", "-k"), shared.env).splitlines()
        add(MEMORY, f"used in the guest, {count}", int(rows[1].split()[2]) / 1024, "MiB")
        status = run(ours("system", "vm", "shell", "bench", "grep", "VmRSS", "/proc/1/status"), shared.env)
        add(MEMORY, f"agent, {count}", int(status.split()[1]) / 1024, "MiB")

    plain.stop()
    memory("1 container")
    for number in range(9):
        run(ours("run", "-d", "--name", f"more-{number}", busybox, "sleep", "100000"), shared.env)
    memory("10 containers")
    shared.stop()

    pooled = Daemon("pool", *flags, "--config", settings)
    run(ours("pull", busybox), pooled.env)
    for _ in range(ROUNDS):
        wait_for_pool(pooled)
        add(RUN, "machine of its own, from the pool", milliseconds(own, pooled.env), "ms")
    pooled.stop()
    ratio = median(BOOT, "start to negotiated protocol") / median(BOOT, "the same kernel, prints and powers off")
    return [f"{BOOT}: {ratio:.2f} times the bare kernel"]


def wait_for_no_machine(house):
    for _ in range(300):
        listed = run(ours("system", "vm", "ls", "--format", "{{.Scope}}"), house.env).split()
        if "container" not in listed:
            return
        time.sleep(0.1)
    raise SystemExit("bench: a machine does not end")
