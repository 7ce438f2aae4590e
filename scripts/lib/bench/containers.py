"""Containers beside other engines: run, exec, pull, conversion, requests, memory."""

import json
import os
import shutil
import socket
import subprocess
import time

from harness import *


def measure(port, names):
    house = Daemon("ours")
    daemon, ours_env = house.process, house.env
    tools = {"ctr-like": ours_env}
    run_words = {"ctr-like": ours("run", "--rm", "--network", "none", names["busybox"], "true")}
    pull_words = {"ctr-like": ours("pull", names["debian-python"])}
    forget = {"ctr-like": lambda: subprocess.run(ours("rmi", "-f", names["debian-python"]), env={**os.environ, **ours_env}, capture_output=True)}
    exec_words = {}
    run(ours("pull", names["busybox"]), ours_env)
    run(ours("run", "-d", "--name", "bench", names["busybox"], "sleep", "100000"), ours_env)
    exec_words["ctr-like"] = ours("exec", "bench", "true")

    if shutil.which("podman"):
        podman = ["podman", "--root", f"{args.state}/podman", "--runroot", f"{args.state}/podman-run", "--cgroup-manager", "cgroupfs", "--storage-driver", "overlay"]
        if shutil.which("runc"):
            podman += ["--runtime", "runc"]
        try:
            run([*podman, "pull", "--tls-verify=false", "-q", names["busybox"]])
            run([*podman, "run", "--rm", "--network", "none", names["busybox"], "true"])
            run([*podman, "run", "-d", "--name", "bench", "--network", "none", names["busybox"], "sleep", "100000"])
            tools["podman"] = {}
            run_words["podman"] = [*podman, "run", "--rm", "--network", "none", names["busybox"], "true"]
            exec_words["podman"] = [*podman, "exec", "bench", "true"]
            pull_words["podman"] = [*podman, "pull", "--tls-verify=false", "-q", names["debian-python"]]
            forget["podman"] = lambda: subprocess.run([*podman, "rmi", "-f", names["debian-python"]], capture_output=True)
        except SystemExit as error:
            print(f"podman does not run here and is left out:\n{error}")

    if shutil.which("containerd") and shutil.which("ctr"):
        folder = f"{args.state}/containerd"
        os.makedirs(folder)
        with open(f"{folder}/config.toml", "w") as file:
            file.write(f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{folder}/containerd.sock"\n')
        server = subprocess.Popen(["containerd", "--config", f"{folder}/config.toml", "--log-level", "error"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        pid_file(server.pid)
        ctr = ["ctr", "--address", f"{folder}/containerd.sock"]
        for _ in range(100):
            if subprocess.run([*ctr, "version"], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        try:
            run([*ctr, "image", "pull", "--plain-http", names["busybox"]])
            tools["ctr"] = {}
            pull_words["ctr"] = [*ctr, "image", "pull", "--plain-http", names["debian-python"]]
            forget["ctr"] = lambda: subprocess.run([*ctr, "image", "rm", "--sync", names["debian-python"]], capture_output=True)
            # The runtime keeps its state outside of ours: a container of an earlier run may have any fixed name.
            name = f"bench-{os.getpid()}"
            run([*ctr, "run", "--rm", names["busybox"], f"{name}-run", "true"])
            run([*ctr, "run", "-d", names["busybox"], name, "sleep", "100000"])
            run_words["ctr"] = [*ctr, "run", "--rm", names["busybox"], f"{name}-run", "true"]
            exec_words["ctr"] = [*ctr, "task", "exec", "--exec-id", "e", name, "true"]
        except SystemExit as error:
            print(f"ctr does not run containers here and is left out of what needs that:\n{error}")

    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0:
        run(["docker", "pull", "-q", names["busybox"]])
        run(["docker", "run", "-d", "--name", "bench", "--network", "none", names["busybox"], "sleep", "100000"])
        tools["docker"] = {}
        run_words["docker"] = ["docker", "run", "--rm", "--network", "none", names["busybox"], "true"]
        exec_words["docker"] = ["docker", "exec", "bench", "true"]
        pull_words["docker"] = ["docker", "pull", "-q", names["debian-python"]]
        forget["docker"] = lambda: subprocess.run(["docker", "rmi", "-f", names["debian-python"]], capture_output=True)

    # The floor: a runtime alone, on a root file system that is there already.
    for runtime in ("crun", "runc"):
        if not shutil.which(runtime):
            continue
        bundle = f"{args.state}/bundle-{runtime}"
        run(["umoci", "unpack", "--image", f"{args.images}/busybox:latest", bundle])
        spec = json.load(open(f"{bundle}/config.json"))
        spec["process"]["args"] = ["true"]
        spec["process"]["terminal"] = False
        json.dump(spec, open(f"{bundle}/config.json", "w"))
        words = [runtime, "--root", f"{args.state}/{runtime}-state", "run", "--bundle", bundle, "bench"]
        probe = subprocess.run(words, capture_output=True)
        if probe.returncode == 0:
            run_words[f"bare {runtime}"] = words
        else:
            print(f"{runtime} does not run here and is left out: {probe.stderr.decode().strip()}")

    for _ in range(3):
        for tool, words in run_words.items():
            run(words, tools.get(tool))
    for _ in range(args.runs):
        for tool, words in run_words.items():
            add("run --rm, warm", tool, milliseconds(words, tools.get(tool)), "ms")
        for tool, words in exec_words.items():
            add("exec", tool, milliseconds(words, tools.get(tool)), "ms")

    def cold(tool):
        forget[tool]()
        # What others have left to write is not this tool's business.
        os.sync()


    PULL = "cold pull, 3 layers"
    for _ in range(5):
        for tool, words in pull_words.items():
            add(PULL, tool, milliseconds(words, tools.get(tool), lambda: cold(tool)), "ms")

    # What no pull can do without, each alone: the bytes over the wire; the layers decompressed, a thread for each; blobs and
    # images written and flushed. And the digests, which cost most on processors without instructions for them.
    layout = f"{args.images}/debian-python"


    def blob(digest):
        return f"{layout}/blobs/sha256/{digest.removeprefix('sha256:')}"


    manifest = json.load(open(blob(json.load(open(f"{layout}/index.json"))["manifests"][0]["digest"])))
    diff_ids = json.load(open(blob(manifest["config"]["digest"])))["rootfs"]["diff_ids"]
    digests = [layer["digest"] for layer in manifest["layers"]]
    blobs = [blob(digest) for digest in digests]
    disks = [f"{args.state}/ours/root/layers/{diff_id.removeprefix('sha256:')}/layer.vhd" for diff_id in diff_ids]
    tars = [f"{args.state}/{diff_id.removeprefix('sha256:')}.tar" for diff_id in diff_ids]
    for source, target in zip(blobs, tars):
        with open(target, "wb") as out:
            subprocess.run(["gzip", "-dc", source], stdout=out, check=True)
    example = f"{args.bin}/examples/tar2vhd"
    urls = [f"http://127.0.0.1:{port}/v2/debian-python/blobs/{digest}" for digest in digests]
    written = [f"{args.state}/written-{n}" for n in range(len(blobs + disks))]
    stages = {
        "stage: transfer": [["curl", "-sf", "-o", "/dev/null", url] for url in urls],
        "stage: gunzip": [[example, "--decompress", source] for source in blobs],
        "stage: write and flush": [
            ["dd", f"if={source}", f"of={target}", "bs=1M", "conv=fsync", "status=none"] for source, target in zip(blobs + disks, written)
        ],
        "stage: digests": [[example, "--sha256", source] for source in blobs + tars],
    }
    for _ in range(5):
        for stage, commands in stages.items():
            add(PULL, stage, side_by_side(commands), "ms")
        for target in written:
            os.unlink(target)

    # Layer conversion: the tree of the Debian image as one uncompressed archive. Ours computes the digest of the archive as well.
    tree = f"{args.state}/tree"
    run(["umoci", "unpack", "--image", f"{args.images}/debian-python:latest", tree])
    tar = f"{args.state}/layer.tar"
    run(["tar", "-C", f"{tree}/rootfs", "-cf", tar, "."])
    size = os.path.getsize(tar)
    for _ in range(5):
        os.sync()
        target = f"{args.state}/ours.vhd"
        add("tar -> ext4", "ctr-like", milliseconds([example, tar, target]), "ms")
        os.unlink(target)
        hashing = [example, "--sha256", tar]
        add("tar -> ext4", "digest of the tar alone", milliseconds(hashing), "ms")
        if shutil.which("tar2ext4"):
            target = f"{args.state}/tar2ext4.vhd"
            words = ["tar2ext4", "-i", tar, "-o", target, "-vhd", "-overlay"]
            add("tar -> ext4", "tar2ext4 (no digest)", milliseconds(words), "ms")
            os.unlink(target)
            add("tar -> ext4", "tar2ext4 beside the digest", side_by_side([words, hashing]), "ms")
            os.unlink(target)
        target = f"{args.state}/mkfs.ext4"
        words = ["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", f"{tree}/rootfs", target, f"{size * 2 // 1024 + 65536}"]
        add("tar -> ext4", "mkfs.ext4 -d (from a tree)", milliseconds(words), "ms")
        os.unlink(target)
        target = f"{args.state}/copy"
        add("tar -> ext4", "cp of the same bytes", milliseconds(["cp", "--sparse=never", tar, target]), "ms")
        os.unlink(target)

    for _ in range(args.runs):
        add("CLI --version", "ctr-like", milliseconds([cli, "--version"]), "ms")
        add("no-op request", "ctr-like", milliseconds([cli, "system", "ping"], ours_env), "ms")
        add("no-op request", "/bin/true (floor of a process)", milliseconds(["/bin/true"]), "ms")
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(house.socket)
            reader = wire.makefile()
            start = time.perf_counter()
            wire.sendall(b'{"id":1,"method":"ctr.v1.System/Ping"}\n')
            reader.readline()
            add("no-op request", "ctr-like, on an open connection", (time.perf_counter() - start) * 1000, "ms")

    run(ours("rm", "-f", "bench"), ours_env)
    # Idle programs give back what they do not need.
    time.sleep(8)
    memory = resident(daemon.pid)
    add("idle memory", "ctr-liked", memory["Rss"] / 1024, "MiB")
    add("idle memory, private", "ctr-liked", (memory["Private_Clean"] + memory["Private_Dirty"]) / 1024, "MiB")
    for kind, word in (("shim", "ctr-like-shim"), ("guest agent", "ctr-like-guest")):
        for pid in processes(word):
            memory = resident(pid)
            add("idle memory", kind, memory["Rss"] / 1024, "MiB")
            add("idle memory, private", kind, (memory["Private_Clean"] + memory["Private_Dirty"]) / 1024, "MiB")
    house.stop()
    slowest = max(("stage: transfer", "stage: gunzip", "stage: write and flush"), key=lambda stage: median(PULL, stage))
    ratio = median(PULL, "ctr-like") / median(PULL, slowest)
    return [f"{PULL}: {ratio:.2f} times its slowest unavoidable stage ({slowest.removeprefix('stage: ')})"]
