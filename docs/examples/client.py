#!/usr/bin/env python3
"""Pulls an image, runs a command in it and prints its log: the API of ctr-like needs a socket and a JSON reader.

Usage: client.py IMAGE COMMAND [ARG...]        The reference is docs/reference/api.md.
"""
import json, os, socket, sys

connection = socket.socket(socket.AF_UNIX)
connection.connect(os.environ.get("CTR_LIKE_HOST", "unix:///run/ctr-like/ctr-like.sock").removeprefix("unix://"))
lines = connection.makefile("rw", encoding="utf-8", newline="\n")

def call(method, **params):
    """Yields the items of a stream, or the one result."""
    print(json.dumps({"id": 1, "method": "ctr.v1." + method, "params": params}), file=lines, flush=True)
    for reply in map(json.loads, lines):
        if "error" in reply:
            sys.exit(f"{reply['error']['code']}: {reply['error']['message']}")
        if "end" in reply:
            return
        yield reply.get("item", reply.get("result"))
        if "result" in reply:
            return

image, *command = sys.argv[1:]
[version] = call("System/Version", api={"min": 1, "max": 1}, client="client.py")
print("daemon", version["version"], file=sys.stderr)
for item in call("Images/Pull", reference=image):
    print(item, file=sys.stderr)
[created] = call("Containers/Create", image=image, command=command)
[_] = call("Containers/Start", container=created["id"])
[exited] = call("Containers/Wait", container=created["id"])
for item in call("Containers/Logs", container=created["id"]):
    print(item.get("text", ""), end="")
[_] = call("Containers/Remove", container=created["id"])
sys.exit(exited["exit_code"])
