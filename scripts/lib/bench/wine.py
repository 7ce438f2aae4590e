"""The Windows programs under Wine beside the same on Linux, and what an idle daemon with many containers holds.

Wine costs what it costs, so its figures are beside an empty Windows program in the same prefix, whose server runs in both cases."""

import os
import subprocess
import time

from harness import *

START = "CLI --version, by system"
REQUEST = "no-op request, by system"
IDLE = "idle daemon"
CONTAINERS = 50
PIPE = "npipe:////./pipe/ctr-like-bench"
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def holds(kind, pids):
    """Open files, threads and memory of processes, together."""
    pids = list(pids)
    add(f"{IDLE}: open files", kind, sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids), "")
    add(f"{IDLE}: threads", kind, sum(len(os.listdir(f"/proc/{pid}/task")) for pid in pids), "")
    add(f"{IDLE}: resident", kind, sum(resident(pid)["Rss"] for pid in pids) / 1024, "MiB")
    private = [resident(pid) for pid in pids]
    add(f"{IDLE}: private", kind, sum(one["Private_Clean"] + one["Private_Dirty"] for one in private) / 1024, "MiB")


def windows_daemon():
    """The daemon for Windows at a pipe of its own; the environment of what runs beside it, and its process."""
    folder = f"{args.state}/wine-daemon"
    os.makedirs(folder)
    env = {
        **os.environ,
        "WINEPREFIX": args.prefix,
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree,mshtml=;winemenubuilder.exe=d",
        "CTR_LIKE_HOST": PIPE,
        "CTR_LIKE_NO_START": "1",
        "CTR_LIKE_ROOT": "Z:" + folder.replace("/", "\\") + "\\root",
        "CTR_LIKE_RUN_DIR": "Z:" + folder.replace("/", "\\") + "\\run",
        "CTR_LIKE_LOG": "warn",
    }
    log = open(f"{folder}/log", "w")
    server = subprocess.Popen(["wine", f"{args.windows}/ctr-liked.exe"], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    pid_file(server.pid)
    for _ in range(100):
        if subprocess.run(["wine", f"{args.windows}/ctr-like.exe", "system", "ping"], env=env, **QUIET).returncode == 0:
            return env, server
        time.sleep(0.2)
    raise SystemExit(f"bench: the daemon under Wine does not answer; its log is {folder}/log")


def many_windows_containers(env):
    """What the Windows daemon and its shims hold over the doubles of the DLLs, as tests/examples/idle_windows.rs says."""
    program = f"{args.bin}/../debug/examples/idle_windows"
    doubles = {"CTR_LIKE_DOUBLES": f"{args.prefix}-platform", "CTR_LIKE_WINDOWS_BIN": args.windows}
    kept = {name: value for name, value in env.items() if not name.startswith("CTR_LIKE_")}
    done = subprocess.run([program], env={**kept, **doubles}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit("bench: idle_windows failed; it says above why")
    for line in done.stdout.splitlines():
        what, whose, value, unit = line.split("\t")
        add(what, whose, float(value), unit)


def measure(port, names):
    house = Daemon("many")
    image = names["busybox"]
    run(ours("pull", image), house.env)
    env, server = windows_daemon()
    empty = f"{args.state}/empty.exe"
    source = f"{args.state}/empty.c"
    with open(source, "w") as file:
        file.write("int main(void) { return 0; }\n")
    run(["x86_64-w64-mingw32-gcc", "-O2", "-o", empty, source])

    def under_wine(*words):
        start = time.perf_counter()
        subprocess.run(["wine", *words], env=env, check=True, **QUIET)
        return (time.perf_counter() - start) * 1000

    windows_cli = f"{args.windows}/ctr-like.exe"
    for _ in range(3):
        under_wine(empty)
        under_wine(windows_cli, "system", "ping")
    for _ in range(args.runs):
        add(START, "/bin/true", milliseconds(["/bin/true"]), "ms")
        add(START, "ctr-like on Linux", milliseconds([cli, "--version"]), "ms")
        add(START, "an empty program under Wine", under_wine(empty), "ms")
        add(START, "ctr-like under Wine", under_wine(windows_cli, "--version"), "ms")
        add(REQUEST, "ctr-like on Linux", milliseconds(ours("system", "ping"), house.env), "ms")
        add(REQUEST, "ctr-like under Wine, over the pipe", under_wine(windows_cli, "system", "ping"), "ms")

    # Idle programs give back what they do not need.
    time.sleep(8)
    holds("Linux, no container", [house.process.pid])
    holds("Wine, no container", [server.pid])
    for number in range(CONTAINERS):
        run(ours("run", "-d", "--network", "none", "--name", f"idle-{number}", image, "sleep", "100000"), house.env)
    time.sleep(8)
    holds(f"Linux, {CONTAINERS} containers", [house.process.pid])
    holds(f"the shims of those {CONTAINERS}", processes("ctr-like-shim", house.root))
    subprocess.run(["wine", windows_cli, "daemon", "stop"], env=env, **QUIET)
    server.wait()
    house.stop()
    many_windows_containers(env)
    ratio = lambda what, tool, base: median(what, tool) / median(START, base)
    linux = lambda what: ratio(what, "ctr-like on Linux", "/bin/true")
    return [
        f"{START}: {linux(START):.2f} times an empty process on Linux, "
        f"{ratio(START, 'ctr-like under Wine', 'an empty program under Wine'):.2f} times an empty program under Wine",
        f"{REQUEST}: {linux(REQUEST):.2f} times an empty process on Linux, "
        f"{ratio(REQUEST, 'ctr-like under Wine, over the pipe', 'an empty program under Wine'):.2f} times an empty program under Wine",
    ]
