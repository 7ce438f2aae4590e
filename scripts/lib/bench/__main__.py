"""The measurements of scripts/bench: each is taken for every tool in turn, round by round, so that all tools meet the same
machine. Medians are printed; every sample goes to the TSV file."""

import containers
import harness
import machines
import windows
import wine

PARTS = {"containers": containers, "machines": machines, "windows": windows, "wine": wine}

port, names = harness.registry()
closing = []
for part in harness.args.parts.split(","):
    closing += PARTS[part].measure(port, names)
harness.tables()
print()
for line in closing:
    print(line)
print(f"\nevery sample: {harness.args.out}")
