"""The measurements of scripts/bench: each is taken for every tool in turn, round by round, so that all tools meet the same
machine. Medians are printed; every sample goes to the TSV file."""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import time

parser = argparse.ArgumentParser()
parser.add_argument("--state", required=True)
parser.add_argument("--images", required=True)
parser.add_argument("--bin", required=True)
parser.add_argument("--runs", type=int, default=15)
parser.add_argument("--out", required=True)
args = parser.parse_args()

samples = {}
os.makedirs(os.path.dirname(args.out), exist_ok=True)
tsv = open(args.out, "w")
print("what\ttool\tvalue\tunit", file=tsv)


def add(what, tool, value, unit):
    samples.setdefault(what, {}).setdefault(tool, []).append(value)
    print(f"{what}\t{tool}\t{value:.3f}\t{unit}", file=tsv, flush=True)


def run(words, env=None, **more):
    """Runs a command; a failure ends the bench with what it said."""
    done = subprocess.run(words, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    if done.returncode != 0:
        raise SystemExit(f"bench: {' '.join(words)} failed ({done.returncode}):\n{done.stderr.decode()}{done.stdout.decode()}")
    return done.stdout.decode()


def milliseconds(words, env=None, before=None):
    if before:
        before()
    start = time.perf_counter()
    run(words, env)
    return (time.perf_counter() - start) * 1000


def side_by_side(commands):
    """Runs commands at the same time, as a pull works on all layers at the same time, and waits for the last one."""
    os.sync()
    start = time.perf_counter()
    running = [(words, subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)) for words in commands]
    for words, process in running:
        complaint = process.communicate()[1]
        if process.returncode != 0:
            raise SystemExit(f"bench: {' '.join(words)} failed ({process.returncode}):\n{complaint.decode()}")
    return (time.perf_counter() - start) * 1000


def pid_file(pid):
    with open(f"{args.state}/pids", "a") as file:
        print(pid, file=file)


def resident(pid):
    """Resident KiB that the process does not share."""
    total = {}
    for line in open(f"/proc/{pid}/smaps_rollup"):
        key, _, rest = line.partition(":")
        if rest.strip().endswith("kB"):
            total[key] = int(rest.split()[0])
    return total


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# A registry on loopback with both images.
port = free_port()
config = f"{args.state}/registry.yml"
with open(config, "w") as file:
    file.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {args.state}/registry}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n")
registry = subprocess.Popen(["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
pid_file(registry.pid)
for _ in range(100):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        break
    except OSError:
        time.sleep(0.1)
names = {}
for name in ("busybox", "debian-python"):
    names[name] = f"127.0.0.1:{port}/{name}:latest"
    run(["skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false", f"oci:{args.images}/{name}:latest", f"docker://{names[name]}"])

# Ours.
cli = f"{args.bin}/ctr-like"
ours_env = {
    "CTR_LIKE_ROOT": f"{args.state}/ours/root",
    "CTR_LIKE_RUN_DIR": f"{args.state}/ours/run",
    "CTR_LIKE_HOST": f"unix://{args.state}/ours/run/ctr-like.sock",
    "CTR_LIKE_LOG": "warn",
}
os.makedirs(f"{args.state}/ours")
daemon = subprocess.Popen([f"{args.bin}/ctr-liked"], env={**os.environ, **ours_env}, stdout=subprocess.DEVNULL, stderr=open(f"{args.state}/ours/daemon.log", "w"))
pid_file(daemon.pid)
for _ in range(200):
    if subprocess.run([cli, "version"], env={**os.environ, **ours_env, "CTR_LIKE_NO_START": "1"}, capture_output=True).returncode == 0:
        break
    time.sleep(0.05)


def ours(*words):
    return [cli, *words]


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
        wire.connect(f"{args.state}/ours/run/ctr-like.sock")
        reader = wire.makefile()
        start = time.perf_counter()
        wire.sendall(b'{"id":1,"method":"ctr.v1.System/Ping"}\n')
        reader.readline()
        add("no-op request", "ctr-like, on an open connection", (time.perf_counter() - start) * 1000, "ms")

run(ours("rm", "-f", "bench"), ours_env)
time.sleep(3)
memory = resident(daemon.pid)
add("idle memory", "ctr-liked", memory["Rss"] / 1024, "MiB")
add("idle memory, private", "ctr-liked", (memory["Private_Clean"] + memory["Private_Dirty"]) / 1024, "MiB")
for entry in os.listdir("/proc"):
    if not entry.isdigit():
        continue
    try:
        line = open(f"/proc/{entry}/cmdline").read().replace("\0", " ")
    except OSError:
        continue
    kind = "shim" if "ctr-like-shim" in line else "guest agent" if "ctr-like-guest" in line else None
    if kind and args.state in line:
        memory = resident(entry)
        add("idle memory", kind, memory["Rss"] / 1024, "MiB")
        add("idle memory, private", kind, (memory["Private_Clean"] + memory["Private_Dirty"]) / 1024, "MiB")

print()
print(f"{'what':24} {'tool':36} {'median':>10}  ratio to ctr-like")
for what, per_tool in samples.items():
    base = statistics.median(per_tool.get("ctr-like", [0]))
    for tool, values in per_tool.items():
        median = statistics.median(values)
        ratio = f"{median / base:.2f}" if base else ""
        print(f"{what:24} {tool:36} {median:10.2f}  {ratio}")
of_pull = {tool: statistics.median(values) for tool, values in samples[PULL].items()}
slowest = max(("stage: transfer", "stage: gunzip", "stage: write and flush"), key=of_pull.get)
print(f"\n{PULL}: {of_pull['ctr-like'] / of_pull[slowest]:.2f} times its slowest unavoidable stage ({slowest.removeprefix('stage: ')})")
print(f"\nevery sample: {args.out}")
