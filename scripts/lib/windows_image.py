"""Makes the image `windows-tools`: an OCI layout whose layers have the form that Windows images are published in.

Called by scripts/make-images. The programs are other people's (from wheels on the package index) and tests/wine/probe.c; the
layers are written with Python's tarfile, so that nothing here shares code with what reads them.

    windows_image.py LAYOUT WHEELS PROBE

    base       Files with the registry's hives, a utility VM, streams, a junction, a hard link, extended attributes
    tools      ruff.exe (Rust), ninja.exe (C++), shfmt.exe (Go) and texts
    changes    probe.exe; a text replaced under another case, a file and a directory deleted
"""

import base64
import gzip
import hashlib
import io
import json
import pathlib
import struct
import sys
import tarfile
import zipfile

OS_VERSION = "10.0.20348.2402"
CREATED = "2024-03-01T00:00:00Z"
TIME = 1709251200.1234567
DIRECTORY, ARCHIVE, HIDDEN, REPARSE = 0x10, 0x20, 0x2, 0x400


def descriptor():
    """Owner and group Administrators; full control for Administrators and SYSTEM, read for Users; inherited."""

    def sid(*parts):
        return struct.pack(f"<BB6s{len(parts)}I", 1, len(parts), (5).to_bytes(6, "big"), *parts)

    def allow(mask, who):
        return struct.pack("<BBHI", 0, 0x13, 8 + len(who), mask) + who

    administrators = sid(32, 544)
    entries = allow(0x1F01FF, administrators) + allow(0x1F01FF, sid(18)) + allow(0x1200A9, sid(32, 545))
    acl = struct.pack("<BBHHH", 2, 0, 8 + len(entries), 3, 0) + entries
    owner = 20 + len(acl)
    header = struct.pack("<BBHIIII", 1, 0, 0x8004, owner, owner + len(administrators), 0, 20)
    return header + acl + administrators + administrators


RAWSD = base64.b64encode(descriptor()).decode()


class Layer:
    def __init__(self):
        self.bytes = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.bytes, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, name, kind, content=b"", attributes=None, link="", **more):
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, len(content)
        info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
        info.pax_headers = {"mtime": repr(TIME)}
        if attributes is not None:
            info.pax_headers |= {
                "MSWINDOWS.fileattr": str(attributes),
                "MSWINDOWS.rawsd": RAWSD,
                "LIBARCHIVE.creationtime": "1556000000",
            }
        info.pax_headers |= {key.replace("__", "."): value for key, value in more.items()}
        self.tar.addfile(info, io.BytesIO(content))

    def directories(self, *names):
        for name in names:
            self.add(name, tarfile.DIRTYPE, attributes=DIRECTORY)

    def file(self, name, content, attributes=ARCHIVE, **more):
        self.add(name, tarfile.REGTYPE, content, attributes, **more)

    def stream(self, name, content):
        self.add(name, tarfile.REGTYPE, content)

    def deleted(self, name):
        folder, _, last = name.rpartition("/")
        self.add(f"{folder}/.wh.{last}", tarfile.REGTYPE)

    def done(self):
        self.tar.close()
        return self.bytes.getvalue()


def base():
    layer = Layer()
    layer.directories(
        "Files", "Files/Program Files", "Files/Users", "Files/Users/Public", "Files/Windows", "Files/Windows/System32",
        "Files/Windows/System32/config", "Files/Windows/System32/drivers", "Files/Windows/System32/drivers/etc",
    )
    for hive in ["DEFAULT", "SAM", "SECURITY", "SOFTWARE", "SYSTEM"]:
        layer.file(f"Files/Windows/System32/config/{hive}", b"regf" + hive.encode().ljust(508, b"\0"))
    layer.file("Files/Windows/System32/drivers/etc/hosts", b"# hosts\r\n")
    layer.file("Files/Windows/hidden.ini", b"[x]\r\n", ARCHIVE | HIDDEN)
    layer.file("Files/license.txt", b"Everybody may use this image.\r\n")
    layer.stream("Files/license.txt:Zone.Identifier", b"[ZoneTransfer]\r\nZoneId=3\r\n")
    layer.add("Files/license-again.txt", tarfile.LNKTYPE, link="Files/license.txt")
    layer.add(
        "Files/Documents and Settings", tarfile.SYMTYPE, attributes=DIRECTORY | REPARSE, link="C:\\Users",
        MSWINDOWS__mountpoint="1",
    )
    layer.file(
        "Files/Users/Public/extended.txt", b"has an extended attribute\r\n",
        **{"MSWINDOWS.xattr.KIND": base64.b64encode(b"value").decode()},
    )
    layer.directories(
        "UtilityVM", "UtilityVM/Files", "UtilityVM/Files/EFI", "UtilityVM/Files/EFI/Microsoft",
        "UtilityVM/Files/EFI/Microsoft/Boot", "UtilityVM/Files/Windows",
    )
    layer.file("UtilityVM/Files/EFI/Microsoft/Boot/BCD", b"regf" + b"BCD".ljust(508, b"\0"))
    return layer.done()


def tools(wheels):
    layer = Layer()
    layer.directories("Files", "Files/tools", "Files/docs", "Files/docs/old")
    for wheel in sorted(pathlib.Path(wheels).glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.endswith(".exe"):
                    layer.file(f"Files/tools/{name.rpartition('/')[2]}", archive.read(name))
    layer.file("Files/docs/readme.txt", b"first\r\n")
    layer.file("Files/docs/gone.txt", b"this goes\r\n")
    layer.file("Files/docs/old/a.txt", b"this goes with its directory\r\n")
    layer.directories("Hives")
    layer.file("Hives/Software_Delta", b"regf" + b"delta".ljust(508, b"\0"))
    return layer.done()


def changes(probe):
    layer = Layer()
    layer.directories("Files", "Files/Tools", "Files/docs", "Files/work")
    layer.file("Files/Tools/probe.exe", pathlib.Path(probe).read_bytes())
    layer.file("Files/docs/README.txt", b"second\r\n")
    layer.deleted("Files/docs/gone.txt")
    layer.deleted("Files/docs/old")
    layer.directories("Hives")
    return layer.done()


def main():
    layout, wheels, probe = map(pathlib.Path, sys.argv[1:4])
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(content, media_type, **more):
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content), **more}

    def document(value, kind, **more):
        return blob(json.dumps(value, sort_keys=True).encode(), f"application/vnd.oci.image.{kind}.v1+json", **more)

    layers = [base(), tools(wheels), changes(probe)]
    platform = {"architecture": "amd64", "os": "windows", "os.version": OS_VERSION}
    config = document(
        {
            **platform,
            "created": CREATED,
            "config": {
                "Cmd": ["probe", "both"],
                "Env": ["Path=C:\\tools;C:\\Windows\\System32;C:\\Windows", "COLOUR=blue"],
                "WorkingDir": "C:\\work",
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers],
            },
            "history": [{"created": CREATED, "created_by": "windows_image.py"} for _ in layers],
        },
        "config",
    )
    manifest = document(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": [
                blob(gzip.compress(layer, 6, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip") for layer in layers
            ],
        },
        "manifest",
        platform=platform,
        annotations={"org.opencontainers.image.ref.name": "latest"},
    )
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


main()
