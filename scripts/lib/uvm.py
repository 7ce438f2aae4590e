"""Makes the boot files of a utility VM out of a Debian kernel package and the guest agent. Called by scripts/build-uvm.

    uvm.py extract DEB DIRECTORY            kernel, vmlinux and the modules below, with their index
    uvm.py assemble DIRECTORY AGENT BUSYBOX OUT PACKAGE VERSION      kernel, vmlinux, initrd.img, manifest.json in OUT

Needs Python's standard library and dpkg-deb. The same inputs give the same bytes: nothing here asks for the time, the
user or the order of a directory.

The initrd is an uncompressed archive: unpacking one costs an emulated processor more than reading the bytes.
Modules lose their signature and their type information: a kernel would verify the one and parse the other, with its own,
at every boot. It says once that it is tainted by unsigned modules.
"""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import struct
import subprocess
import sys
import tarfile

# What a machine may need; their dependencies come along. What loads them, and when, is the agent's business.
MODULES = """
    hv_vmbus hv_storvsc hv_netvsc hv_sock hv_utils hv_balloon pci-hyperv
    virtio_pci virtio_scsi virtio_net vmw_vsock_virtio_transport virtio-rng virtio_balloon virtio_pmem
    nfit nd_pmem sd_mod dm-mod dm-verity
    overlay ext4 erofs fuse
    9p 9pnet_fd 9pnet_virtio
    bridge br_netfilter veth tun
    nf_tables nft_chain_nat nft_compat nft_ct nft_masq nft_nat nft_redir nft_reject_inet
    xt_MASQUERADE xt_addrtype xt_comment xt_conntrack xt_mark xt_nat xt_tcpudp
""".split()

# The agent and its modules, in front of everything else: the emulator recognises the initrd by it, and puts it before
# another one that knows nothing of this kernel.
OWN = ".ctr-like"
# Directories of the initrd besides those of its files.
DIRECTORIES = "bin dev etc lib mnt proc root run sbin sys tmp var/lib".split()
# The agent under the names that a host, the kernel and the emulator know.
LINKS = {
    f"{OWN}/modprobe": "guest",
    f"{OWN}/platform": "guest",
    "bin/gcs": f"../{OWN}/guest",
    "bin/vsockexec": f"../{OWN}/guest",
    "init": f"{OWN}/guest",
    "lib/modules": f"../{OWN}/modules",
    "sbin/modprobe": f"../{OWN}/guest",
}
FILES = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": b"127.0.0.1 localhost\n::1 localhost\n",
}
SIGNATURE = b"~Module signature appended~\n"


def die(message):
    sys.exit(f"build-uvm: {message}")


def underscored(name):
    """Module names and aliases: a dash is an underscore."""
    return name.replace("-", "_")


# Modules


class Elf:
    """A relocatable ELF file for a 64-bit little-endian machine: its sections."""

    HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
    SECTION = struct.Struct("<IIQQQQIIQQ")

    def __init__(self, data):
        if data[:6] != b"\x7fELF\x02\x01":
            raise ValueError("not a 64-bit little-endian ELF file")
        self.data = data
        self.header = list(self.HEADER.unpack_from(data))
        start, count, names = self.header[6], self.header[12], self.header[13]
        self.sections = [list(self.SECTION.unpack_from(data, start + 64 * n)) for n in range(count)]
        table = self.bytes_of(self.sections[names])
        self.names = [table[s[0] : table.index(b"\0", s[0])].decode() for s in self.sections]

    def bytes_of(self, section):
        return b"" if section[1] == 8 else self.data[section[4] : section[4] + section[5]]

    def section(self, name):
        return self.bytes_of(self.sections[self.names.index(name)]) if name in self.names else b""

    def without(self, dropped):
        """The file with these sections empty and everything close together."""
        out = bytearray(self.HEADER.size)
        table = []
        for name, section in zip(self.names, self.sections):
            section = list(section)
            content = self.bytes_of(section)
            if name in dropped:
                content, section[5] = b"", 0
            if section[1] not in (0, 8):
                out += bytes(-len(out) % max(section[8], 1))
                section[4] = len(out)
                out += content
            table.append(section)
        out += bytes(-len(out) % 8)
        header = list(self.header)
        header[6] = len(out)
        for section in table:
            out += self.SECTION.pack(*section)
        self.HEADER.pack_into(out, 0, *header)
        return bytes(out)


def before(words):
    """The names after `pre:` in a soft dependency."""
    kind = "pre:"
    for word in words:
        if word.endswith(":"):
            kind = word
        elif kind == "pre:":
            yield word


class Module:
    """What a module says of itself."""

    def __init__(self, path, data):
        self.path = path
        self.name = underscored(os.path.basename(path)[: -len(".ko")])
        fields = {}
        for entry in Elf(data).section(".modinfo").split(b"\0"):
            key, _, value = entry.decode().partition("=")
            fields.setdefault(key, []).append(value)
        depends = ",".join(fields.get("depends", []))
        self.depends = [underscored(name) for name in depends.split(",") if name]
        # Modules or aliases that should be there before, which the kernel would ask for one by one.
        self.before = [name for value in fields.get("softdep", []) for name in before(value.split())]
        self.aliases = sorted({underscored(alias) for alias in fields.get("alias", [])})


def package_files(deb):
    """The regular files of a package, in its order."""
    command = ["dpkg-deb", "--fsys-tarfile", deb]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for member in archive:
                if member.isreg():
                    yield member.name.removeprefix("./"), archive.extractfile(member)
        process.stdout.read()
    if process.returncode != 0:
        die(f"{deb}: dpkg-deb cannot read it; remove it and run this again")


def load_order(modules, name, seen):
    """A module after everything it needs, and nothing that was seen already."""
    if name in seen:
        return []
    seen.add(name)
    if name not in modules:
        die(f"the kernel package has no module {name}")
    needs = modules[name].depends + [m for alias in modules[name].before for m in serving(modules, alias)]
    return [m for need in needs for m in load_order(modules, need, seen)] + [name]


def serving(modules, wanted):
    """The module of that name, or one that calls itself so: a generic one before one for some processors."""
    alias = underscored(wanted)
    names = [alias] if alias in modules else sorted(m.name for m in modules.values() if alias in m.aliases)
    return [name for name in names if name.endswith("_generic")][:1] or names[:1]


def uncompressed(image):
    """The ELF file inside of a compressed kernel image, found by the magic of the compressor."""
    candidates = [
        (b"\xfd7zXZ\0", lambda data: lzma.LZMADecompressor().decompress(data)),
        (b"\x1f\x8b\x08", lambda data: gzip.zlib.decompressobj(31).decompress(data)),
        (b"BZh", lambda data: bz2.BZ2Decompressor().decompress(data)),
        (b"\x5d\0\0\0", lambda data: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data)),
        (b"\x28\xb5\x2f\xfd", lambda data: piped(["zstd", "-dcq"], data)),
        (b"\x02\x21\x4c\x18", lambda data: piped(["lz4", "-dcq"], data)),
    ]
    for magic, decompress in candidates:
        at = image.find(magic)
        while at >= 0:
            try:
                kernel = decompress(image[at:])
            except (lzma.LZMAError, gzip.zlib.error, OSError, EOFError):
                kernel = b""
            if kernel[:4] == b"\x7fELF":
                return kernel
            at = image.find(magic, at + 1)
    die("no ELF kernel was found inside of the compressed one")


def piped(command, data):
    """The output of a decompressor that meets the end of the image where it expects more."""
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout


def check_pvh(kernel):
    """QEMU boots an uncompressed kernel by the entry point in a note of Xen's, number 18."""
    if b"Xen\0" not in kernel or struct.pack("<III", 4, 8, 18) + b"Xen\0" not in kernel and (
        struct.pack("<III", 4, 4, 18) + b"Xen\0" not in kernel
    ):
        die("the kernel has no PVH entry point (CONFIG_PVH)")


def extract(deb, directory):
    modules, kernel = {}, None
    for path, content in package_files(deb):
        if path.endswith(".ko"):
            module = Module(path, content.read())
            modules[module.name] = module
        elif path.startswith("boot/vmlinuz-"):
            kernel = content.read()
            release = path.removeprefix("boot/vmlinuz-")
    if kernel is None:
        die(f"{deb} has no kernel")
    wanted = set()
    for name in MODULES:
        load_order(modules, underscored(name), wanted)
    paths = {modules[name].path: name for name in wanted}
    vmlinux = uncompressed(kernel)
    check_pvh(vmlinux)
    os.makedirs(os.path.join(directory, "modules"))
    for path, content in package_files(deb):
        if path in paths:
            data = content.read()
            if data.endswith(SIGNATURE):
                size = struct.unpack(">I", data[-len(SIGNATURE) - 4 : -len(SIGNATURE)])[0]
                data = data[: -len(SIGNATURE) - 12 - size]
            write(os.path.join(directory, "modules", paths[path] + ".ko"), Elf(data).without({".BTF", ".comment"}))
    lines = []
    for name in sorted(wanted):
        lines.append("module " + " ".join([name, *load_order(modules, name, set())[:-1]]))
    for name in sorted(wanted):
        lines += [f"alias {alias} {name}" for alias in modules[name].aliases]
    write(os.path.join(directory, "modules", "index"), "".join(line + "\n" for line in lines).encode())
    write(os.path.join(directory, "kernel"), kernel)
    write(os.path.join(directory, "vmlinux"), vmlinux)
    write(os.path.join(directory, "release"), release.encode())


# Image


class Archive:
    """A "newc" cpio archive: entries of root's, of no time, numbered in order."""

    def __init__(self):
        self.data = bytearray()
        self.number = 0

    def add(self, name, mode, content=b"", device=(0, 0)):
        self.number += 1
        links = 2 if mode >> 12 == 4 else 1
        fields = [self.number, mode, 0, 0, links, 0, len(content), 0, 0, *device, len(name) + 1, 0]
        self.data += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        self.pad(4)
        self.data += content
        self.pad(4)

    def pad(self, size):
        self.data += bytes(-len(self.data) % size)

    def finish(self):
        self.number = -1
        self.add("TRAILER!!!", 0)
        self.pad(512)
        return bytes(self.data)


def busybox_links(busybox):
    """A name for each of its programs that the agent does not have itself."""
    names = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    links = {f"bin/{name}": "busybox" for name in names}
    return {name: target for name, target in links.items() if name not in LINKS and name != "bin/busybox"}


def initrd(directory, agent, busybox):
    files = {f"{OWN}/modules/{name}": (0o100644, read(os.path.join(directory, "modules", name)))
             for name in os.listdir(os.path.join(directory, "modules"))}
    files |= {name: (0o100644, content) for name, content in FILES.items()}
    links = LINKS | busybox_links(busybox)
    files |= {name: (0o120777, target.encode()) for name, target in links.items()}
    # For people: `ctr-like system vm shell`.
    files["bin/busybox"] = (0o100755, read(busybox))
    files[f"{OWN}/guest"] = (0o100755, read(agent))
    directories = set()
    for name in DIRECTORIES + [os.path.dirname(name) for name in files]:
        while name:
            directories.add(name)
            name = os.path.dirname(name)
    archive = Archive()
    for own in (True, False):
        for name in sorted(name for name in directories if (name.split("/")[0] == OWN) == own):
            archive.add(name, {"root": 0o40700, "tmp": 0o41777}.get(name, 0o40755))
        for name in sorted(name for name in files if name.startswith(OWN + "/") == own):
            mode, content = files[name]
            archive.add(name, mode, content)
    # Init's standard streams, which the kernel opens before anything is mounted.
    archive.add("dev/console", 0o20600, device=(5, 1))
    return archive.finish()


def assemble(directory, agent, busybox, out, package, version):
    release = read(os.path.join(directory, "release")).decode()
    contents = {
        "kernel": read(os.path.join(directory, "kernel")),
        "vmlinux": read(os.path.join(directory, "vmlinux")),
        "initrd.img": initrd(directory, agent, busybox),
    }
    limit = 20 << 20
    if len(contents["initrd.img"]) >= limit:
        die(f"initrd.img would have {len(contents['initrd.img'])} bytes, the limit is {limit}")
    manifest = {"package": package, "version": version, "release": release, "files": {}}
    os.makedirs(out, exist_ok=True)
    for name, content in contents.items():
        digest = hashlib.sha256(content).hexdigest()
        manifest["files"][name] = {"size": len(content), "sha256": digest}
        path = os.path.join(out, name)
        if not (os.path.exists(path) and read(path) == content):
            write(path, content)
    # Last: whoever finds it finds the files it names.
    write(os.path.join(out, "manifest.json"), (json.dumps(manifest, indent=2) + "\n").encode())


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, content):
    """In one step: a machine may be booting the old file."""
    with open(path + ".new", "wb") as file:
        file.write(content)
    os.replace(path + ".new", path)


COMMANDS = {"extract": (extract, 2), "assemble": (assemble, 6)}

if __name__ == "__main__":
    command, count = COMMANDS.get(sys.argv[1] if len(sys.argv) > 1 else "", (None, 0))
    if command is None or len(sys.argv) != count + 2:
        sys.exit(__doc__)
    command(*sys.argv[2:])
