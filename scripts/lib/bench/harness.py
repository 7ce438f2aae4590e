"""What all parts of the bench share: samples, commands, a registry, our daemon, and the tables at the end."""

import argparse
import os
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
parser.add_argument("--uvm", required=True)
parser.add_argument("--windows", required=True)
parser.add_argument("--prefix", required=True)
parser.add_argument("--parts", default="containers,machines,windows,wine")
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
    """Notes a process that is to end with the bench."""
    with open(f"{args.state}/pids", "a") as file:
        print(pid, file=file)


def resident(pid):
    """Kinds of resident memory of a process, in KiB."""
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


def registry():
    """A registry on loopback with the images; gives its port and their names."""
    port = free_port()
    config = f"{args.state}/registry.yml"
    with open(config, "w") as file:
        file.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {args.state}/registry}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n")
    server = subprocess.Popen(["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pid_file(server.pid)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.1)
    names = {}
    for name in ("busybox", "debian-python", "windows-tools"):
        names[name] = f"127.0.0.1:{port}/{name}:latest"
        run(["skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false", f"oci:{args.images}/{name}:latest", f"docker://{names[name]}"])
    return port, names


cli = f"{args.bin}/ctr-like"


def ours(*words):
    return [cli, *words]


class Daemon:
    """A daemon of ours with a directory of its own."""

    def __init__(self, name, *flags, log="warn"):
        self.root = f"{args.state}/{name}"
        os.makedirs(self.root)
        self.run_dir = f"{self.root}/run"
        self.socket = f"{self.run_dir}/ctr-like.sock"
        self.env = {
            "CTR_LIKE_ROOT": f"{self.root}/root",
            "CTR_LIKE_RUN_DIR": self.run_dir,
            "CTR_LIKE_HOST": f"unix://{self.socket}",
            "CTR_LIKE_LOG": log,
        }
        words = [f"{args.bin}/ctr-liked", *flags]
        log_file = open(f"{self.root}/daemon.log", "w")
        self.process = subprocess.Popen(words, env={**os.environ, **self.env}, stdout=subprocess.DEVNULL, stderr=log_file)
        pid_file(self.process.pid)
        for _ in range(400):
            answer = subprocess.run([cli, "version"], env={**os.environ, **self.env, "CTR_LIKE_NO_START": "1"}, capture_output=True)
            if answer.returncode == 0:
                return
            time.sleep(0.05)
        raise SystemExit(f"bench: the daemon does not answer; its log is {self.root}/daemon.log")

    def stop(self):
        subprocess.run(ours("daemon", "stop", "--containers"), env={**os.environ, **self.env}, capture_output=True)
        self.process.wait()


def processes(word, mark=args.state):
    """Processes whose command line has this word, and the mark of this bench or of one machine."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            line = open(f"/proc/{entry}/cmdline").read().replace("\0", " ")
        except OSError:
            continue
        if word in line and mark in line:
            yield int(entry)


def median(what, tool):
    return statistics.median(samples[what][tool])


def tables():
    print()
    print(f"{'what':28} {'tool':44} {'median':>10}  ratio to the first")
    for what, per_tool in samples.items():
        base = statistics.median(next(iter(per_tool.values())))
        for tool, values in per_tool.items():
            middle = statistics.median(values)
            ratio = f"{middle / base:.2f}" if base else ""
            print(f"{what:28} {tool:44} {middle:10.2f}  {ratio}")
