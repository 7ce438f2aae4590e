"""Parts of the packages for Windows that need more than a shell. Called by scripts/package-windows.

    package.py zip DIRECTORY ZIP SECONDS                   the files of a directory, in order, all of one time
    package.py uuid NAMESPACE NAME                         a GUID that depends on both and on nothing else
    package.py seal MSI SECONDS                            replaces what wixl takes from clock and chance
    package.py manifests OUT ZIP MSI URL VERSION PRODUCT UPGRADE HOMEPAGE SECONDS
                                                           OUT/winget/*.yaml and OUT/scoop/ctr-like.json

SECONDS are since 1970, UTC. Needs Python's standard library. The same inputs give the same bytes.

An MSI is a compound file, with sectors of its own: see "[MS-CFB]". Its times and the code that tells packages apart are properties of
the stream SummaryInformation: see "[MS-OLEPS]". Their sizes are fixed, so they are replaced where they are.
"""

import datetime
import hashlib
import json
import os
import struct
import sys
import uuid
import zipfile

SUMMARY = "\x05SummaryInformation"
# Properties of the summary, and their types.
CODE, PRINTED, CREATED, SAVED = 9, 11, 12, 13
STRING, TIME = 0x1E, 0x40
# What a chain of sectors ends with.
END = 0xFFFFFFFE
# From 1601, where Windows begins to count, to 1970, in units of 100 ns.
EPOCH = 116444736000000000


def die(message):
    sys.exit(f"package.py: {message}")


def make_zip(directory, out, seconds):
    time = datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc).timetuple()[:6]
    if time[0] < 1980:
        die("a zip has no times before 1980")
    names = sorted(
        os.path.relpath(os.path.join(folder, name), directory)
        for folder, _, files in os.walk(directory)
        for name in files
    )
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            entry = zipfile.ZipInfo(name, time)
            entry.compress_type = zipfile.ZIP_DEFLATED
            # Made on Windows, as far as a reader is concerned: no owners and no modes.
            entry.create_system = 0
            with open(os.path.join(directory, name), "rb") as file:
                archive.writestr(entry, file.read())


def guid(namespace, name):
    return "{%s}" % str(uuid.uuid5(uuid.UUID(namespace), name)).upper()


class Compound:
    """A compound file in memory."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = bytearray(file.read())
        if self.data[:8] != b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
            die(f"{path} is no MSI")
        sector, mini = struct.unpack_from("<HH", self.data, 30)
        self.sector, self.mini = 1 << sector, 1 << mini
        directory, self.cutoff, mini_table = struct.unpack_from("<I4xII", self.data, 48)
        self.table = self.read_table()
        root = None
        self.streams = {}
        for at in self.chain(directory, self.table):
            for entry in range(self.at(at), self.at(at) + self.sector, 128):
                length, kind = struct.unpack_from("<HB", self.data, entry + 64)
                start, size = struct.unpack_from("<IQ", self.data, entry + 116)
                name = self.data[entry : entry + max(length - 2, 0)].decode("utf-16-le")
                if kind == 5:
                    root = start
                elif kind == 2:
                    self.streams[name] = (start, size)
        self.mini_table = [word for at in self.chain(mini_table, self.table) for word in self.words(at)]
        self.mini_stream = list(self.chain(root, self.table))

    def at(self, sector):
        return (sector + 1) * self.sector

    def words(self, sector):
        return struct.unpack_from(f"<{self.sector // 4}I", self.data, self.at(sector))

    def read_table(self):
        """Where each sector is followed by which; the table has one of its own, whose beginning is in the header."""
        (more,) = struct.unpack_from("<I", self.data, 68)
        parts = list(struct.unpack_from("<109I", self.data, 76))
        while more < END:
            words = self.words(more)
            parts.extend(words[:-1])
            more = words[-1]
        return [word for part in parts if part < END for word in self.words(part)]

    @staticmethod
    def chain(sector, table):
        while sector < END:
            yield sector
            sector = table[sector]

    def places(self, name):
        """Where the bytes of a small stream are."""
        if name not in self.streams:
            die(f"the MSI has no stream {name!r}")
        start, size = self.streams[name]
        if size >= self.cutoff:
            die(f"the stream {name!r} is larger than it can be")
        per_sector = self.sector // self.mini
        places = []
        for mini in self.chain(start, self.mini_table):
            first = self.at(self.mini_stream[mini // per_sector]) + mini % per_sector * self.mini
            places.extend(range(first, first + self.mini))
        return places[:size]


def seal(path, seconds):
    """Times become the one that is given, and the code of the package one that depends on everything else in it."""
    compound = Compound(path)
    places = compound.places(SUMMARY)
    summary = bytes(compound.data[place] for place in places)
    (section,) = struct.unpack_from("<I", summary, 44)
    (count,) = struct.unpack_from("<I", summary, section + 4)
    properties = dict(struct.unpack_from("<II", summary, section + 8 + 8 * index) for index in range(count))

    def replace(offset, value):
        for place, byte in zip(places[offset : offset + len(value)], value, strict=True):
            compound.data[place] = byte

    def place(number, kind):
        at = section + properties[number]
        (found,) = struct.unpack_from("<I", summary, at)
        if found != kind:
            die(f"property {number} of the summary has type {found}")
        return at + 4

    for number in (PRINTED, CREATED, SAVED):
        if number in properties:
            replace(place(number, TIME), struct.pack("<Q", int(seconds) * 10**7 + EPOCH))
    code = place(CODE, STRING) + 4
    old = summary[code : code + 38]
    if not (old.startswith(b"{") and old.endswith(b"}")):
        die(f"the code of the package is {old!r}")
    replace(code, bytes(38))
    content = hashlib.sha256(compound.data).hexdigest()
    replace(code, guid("87FD9ABA-E690-41CA-B894-31209C539C1F", content).encode())
    with open(path, "wb") as file:
        file.write(compound.data)


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


SUMMARY_LINE = "One container engine for Windows and Linux containers"
LICENSE = "Apache-2.0"


def winget(url, version, product, upgrade, homepage, msi, date):
    """The three files of a version. Strings are quoted, so that YAML takes none of them for a number or a date."""
    identity = [("PackageIdentifier", "ctr-like.ctr-like"), ("PackageVersion", version)]
    kinds = {
        "": ("version", [("DefaultLocale", "en-US")]),
        ".installer": (
            "installer",
            [
                ("Platform", ["Windows.Desktop", "Windows.Server"]),
                ("MinimumOSVersion", "10.0.17763.0"),
                ("InstallerType", "msi"),
                ("Scope", "machine"),
                ("UpgradeBehavior", "install"),
                ("ElevationRequirement", "elevatesSelf"),
                ("ReleaseDate", date),
                ("Commands", ["ctr-like"]),
                (
                    "Installers",
                    [
                        {
                            "Architecture": "x64",
                            "InstallerUrl": f"{url}/{os.path.basename(msi)}",
                            "InstallerSha256": sha256(msi).upper(),
                            "ProductCode": product,
                            "AppsAndFeaturesEntries": [
                                {"DisplayName": "ctr-like", "Publisher": "ctr-like", "ProductCode": product, "UpgradeCode": upgrade}
                            ],
                        }
                    ],
                ),
            ],
        ),
        ".locale.en-US": (
            "defaultLocale",
            [
                ("PackageLocale", "en-US"),
                ("Publisher", "ctr-like"),
                ("PackageName", "ctr-like"),
                ("PackageUrl", homepage),
                ("License", LICENSE),
                ("ShortDescription", SUMMARY_LINE),
                ("Tags", ["containers", "hcs", "oci"]),
            ],
        ),
    }
    for suffix, (kind, fields) in kinds.items():
        fields = identity + fields + [("ManifestType", kind), ("ManifestVersion", "1.6.0")]
        yield f"ctr-like.ctr-like{suffix}.yaml", "".join(yaml(name, value, "") for name, value in fields)


def yaml(name, value, indent):
    if isinstance(value, str):
        return f"{indent}{name}: {json.dumps(value)}\n"
    lines = f"{indent}{name}:\n"
    for item in value:
        if isinstance(item, str):
            lines += f"{indent}- {json.dumps(item)}\n"
        else:
            text = "".join(yaml(key, inner, indent + "  ") for key, inner in item.items())
            lines += f"{indent}- {text[len(indent) + 2 :]}"
    return lines


def scoop(url, version, homepage, archive):
    # Scoop updates by uninstalling, and there the service stays.
    services = "Get-CimInstance Win32_Service -Filter \"Name='ctr-like'\""
    own = "Where-Object { $_.PathName -like \"*$(Split-Path $dir)\\*\" }"
    return {
        "version": version,
        "description": SUMMARY_LINE,
        "homepage": homepage,
        "license": LICENSE,
        "architecture": {"64bit": {"url": f"{url}/{os.path.basename(archive)}", "hash": sha256(archive)}},
        "bin": "ctr-like.exe",
        "pre_uninstall": [
            f"if ($cmd -eq 'uninstall' -and ({services} | {own})) {{",
            "    & \"$dir\\ctr-like.exe\" daemon uninstall",
            "    if ($LASTEXITCODE -ne 0) { throw 'The service was not removed: uninstall ctr-like as administrator.' }",
            "}",
        ],
        "notes": [
            "Completion for PowerShell: add this line to your profile:",
            ". \"$dir\\completion\\ctr-like.ps1\"",
            "As a service: ctr-like daemon install, as administrator.",
        ],
    }


def manifests(out, archive, msi, url, version, product, upgrade, homepage, seconds):
    date = datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc).date().isoformat()
    url = url.rstrip("/")
    files = {f"winget/{name}": text for name, text in winget(url, version, product, upgrade, homepage, msi, date)}
    files["scoop/ctr-like.json"] = json.dumps(scoop(url, version, homepage, archive), indent=4) + "\n"
    for name, text in files.items():
        path = os.path.join(out, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)


def main(arguments):
    match arguments:
        case ["zip", directory, out, seconds]:
            make_zip(directory, out, seconds)
        case ["uuid", namespace, name]:
            print(guid(namespace, name))
        case ["seal", path, seconds]:
            seal(path, seconds)
        case ["manifests", *values] if len(values) == 9:
            manifests(*values)
        case _:
            die(f"unknown arguments: {arguments}")


main(sys.argv[1:])
