"""Windows containers under Wine: starts beside bare Wine, and layers of many small files beside tar."""

import os
import shutil
import subprocess
import time

from harness import *

FILES = 20000


def bare_wine(names):
    """A prefix as a user has it, and the commands that start a program in it: with Wine's server running, and without."""
    prefix = f"{args.state}/bare-prefix"
    env = {"WINEPREFIX": prefix, "WINEDEBUG": "-all", "WINEDLLOVERRIDES": "mscoree,mshtml=;winemenubuilder.exe=d"}
    program = f"{args.state}/probe.exe"
    run(["x86_64-w64-mingw32-gcc", "-O2", "-municode", "-o", program, "tests/wine/probe.c"])
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["wine", program, "exit", "0"], env={**os.environ, **env}, **quiet)

    def timed(words):
        # Wine's services keep the streams of who starts them first, so nothing may be read to its end.
        start = time.perf_counter()
        subprocess.run(words, env={**os.environ, **env}, check=True, **quiet)
        return (time.perf_counter() - start) * 1000

    def cold():
        subprocess.run(["wineserver", "--kill"], env={**os.environ, **env}, **quiet)
        subprocess.run(["wineserver", "--wait"], env={**os.environ, **env}, **quiet)
        return timed(["wine", program, "exit", "0"])

    return cold, lambda: timed(["wine", program, "exit", "0"])


def measure(port, names):
    house = Daemon("windows")
    image = names["windows-tools"]
    env = house.env
    run(ours("pull", image), env)
    # The prefix is made once, and the first container waits for it.
    first = milliseconds(ours("run", "--rm", image, "probe", "exit", "0"), env)
    add("windows: first run ever", "ctr-like (makes the prefix)", first, "ms")
    run(ours("run", "-d", "--name", "bench", image, "probe", "sleep", "100000"), env)
    cold, warm = bare_wine(names)
    for _ in range(args.runs):
        add("windows: run --rm", "ctr-like", milliseconds(ours("run", "--rm", image, "probe", "exit", "0"), env), "ms")
        add("windows: run --rm", "bare wine, nothing running", cold(), "ms")
        add("windows: exec", "ctr-like", milliseconds(ours("exec", "bench", "probe", "exit", "0"), env), "ms")
        add("windows: exec", "bare wine, its server running", warm(), "ms")
    # Idle programs give back what they do not need.
    time.sleep(8)
    for kind, word in (("shim of a Windows container", "ctr-like-shim"), ("its init", "ctr-like-guest windows"), ("Wine's server", "wineserver")):
        for pid in processes(word, house.root if word != "wineserver" else ""):
            add("windows: idle memory", kind, resident(pid)["Rss"] / 1024, "MiB")
    run(ours("rm", "-f", "bench"), env)
    many(port, image, env)
    house.stop()
    return []


def many(port, image, env):
    """Layers of many small files, both ways, and tar on a tree of the same."""
    tree = f"{args.state}/many-tree"
    archive = f"{args.state}/many.tar"
    for number in range(FILES):
        folder = f"{tree}/d{number // 500}"
        if number % 500 == 0:
            os.makedirs(folder)
        with open(f"{folder}/f{number}.txt", "w") as file:
            file.write("a small file\n")
    run(ours("run", "--name", "many", image, "probe", "fill", r"C:\many", str(FILES)), env)
    name = f"127.0.0.1:{port}/many:1"
    rate = lambda took: FILES / took * 1000
    rounds = max(3, args.runs // 3)
    for number in range(rounds):
        if number:
            # An image that lost its name would keep the layer that the pull is to bring.
            run(ours("rmi", "-f", name), env)
        add("windows: 20 000 files, commit", "ctr-like", rate(milliseconds(ours("commit", "many", name), env)), "files/s")
        words = ["sh", "-c", f"tar -C {tree} -cf {archive} . && sha256sum {archive} && gzip -1 -kf {archive}"]
        add("windows: 20 000 files, commit", "tar, sha256sum, gzip -1", rate(milliseconds(words)), "files/s")
    run(ours("push", name), env)
    run(ours("rm", "many"), env)
    for _ in range(rounds):
        run(ours("rmi", "-f", name), env)
        add("windows: 20 000 files, pull", "ctr-like", rate(milliseconds(ours("pull", name), env)), "files/s")
        target = f"{args.state}/many-out"
        shutil.rmtree(target, ignore_errors=True)
        os.makedirs(target)
        words = ["sh", "-c", f"gzip -dc {archive}.gz | tee {archive} | tar -C {target} -x && sha256sum {archive}"]
        add("windows: 20 000 files, pull", "gzip, tar -x, sha256sum", rate(milliseconds(words)), "files/s")
