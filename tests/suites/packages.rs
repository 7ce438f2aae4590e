//! The packages for Windows: what `scripts/package-windows` makes is unpacked, installed, used, upgraded and removed under Wine.
//!
//! Wine does not tell an older package that it is being replaced, as Windows Installer does with a property. Where that matters
//! the test gives the property itself.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tests::prefix::Prefix;
use tests::programs::repository;
use tests::wait;
use tests::wine::{run, windows_path};

const URL: &str = "https://packages.test/ctr-like";
const INSTALLED: &str = r"C:\Program Files\ctr-like";
const SERVICE: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\ctr-like";
const PRODUCTS: &str = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall";
/// The oldest build of Windows that the packages are for.
const OLDEST: u32 = 17763;
/// The product code of the older package.
const OLDER: &str = "{11111111-2222-4333-8444-555555555555}";

/// What is in both packages.
const FILES: [&str; 10] = [
    "LICENSE",
    "README.txt",
    "completion/ctr-like.ps1",
    "ctr-like-shim.exe",
    "ctr-like.exe",
    "ctr-liked.exe",
    "uvm/initrd.img",
    "uvm/kernel",
    "uvm/manifest.json",
    "uvm/vmlinux",
];

fn make(out: &Path) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let status = Command::new(repository().join("scripts/package-windows"))
        .args(["--debug", "--base-url", URL, "--out"])
        .arg(out)
        .stdout(log.reopen().unwrap())
        .stderr(log.reopen().unwrap())
        .status()
        .unwrap();
    let log = std::fs::read_to_string(log.path()).unwrap();
    assert!(status.success(), "package-windows failed:\n{log}");
}

/// The packages where they are told to be, and the digests of those that were made a second time right after.
struct Made {
    out: PathBuf,
    again: [String; 2],
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let out = repository().join("target/package");
        let second = tempfile::tempdir_in(repository().join("target")).unwrap();
        make(&out);
        make(second.path());
        let again = names().map(|name| sha256(&second.path().join(name)));
        Made { out, again }
    })
}

fn packages() -> &'static Path {
    &made().out
}

fn version() -> String {
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    manifest["workspace"]["package"]["version"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The zip and the MSI.
fn names() -> [String; 2] {
    let version = version();
    [
        format!("ctr-like-{version}-windows-x86_64.zip"),
        format!("ctr-like-{version}-x86_64.msi"),
    ]
}

fn archive() -> PathBuf {
    packages().join(&names()[0])
}

fn msi() -> PathBuf {
    packages().join(&names()[1])
}

fn sha256(path: &Path) -> String {
    hex::encode(Sha256::digest(std::fs::read(path).unwrap()))
}

fn python(script: &str, arguments: &[&Path]) {
    let status = Command::new("python3")
        .args(["-c", script])
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success());
}

/// The same package, but of an older version.
fn older(folder: &Path) -> PathBuf {
    let older = folder.join("older.msi");
    std::fs::copy(msi(), &older).unwrap();
    let change = |property: &str, value: &str| {
        format!("UPDATE `Property` SET `Value` = '{value}' WHERE `Property` = '{property}'")
    };
    // The rows of its own version: which ones are newer.
    let upgrade = manifest("ctr-like.ctr-like.installer.yaml", "UpgradeCode");
    let newer = format!(
        "INSERT INTO `Upgrade` (`UpgradeCode`, `VersionMin`, `Attributes`, `ActionProperty`) \
         VALUES ('{upgrade}', '0.0.1', 2, 'WIX_DOWNGRADE_DETECTED')"
    );
    let status = Command::new("msibuild")
        .arg(&older)
        .args(["-q", &change("ProductVersion", "0.0.1")])
        .args(["-q", &change("ProductCode", OLDER)])
        .args(["-q", "DELETE FROM `Upgrade`"])
        .args(["-q", &newer])
        .args(["-s", "ctr-like 0.0.1", "ctr-like", "x64;1033", OLDER])
        .status()
        .unwrap();
    assert!(status.success());
    older
}

/// `msiexec`, without windows.
fn msiexec(prefix: &Prefix, verb: &str, package: &Path, properties: &[&str]) -> i32 {
    let package = windows_path(package);
    let arguments = [&[verb, &package, "/qn"], properties].concat();
    prefix.run("msiexec", &arguments).status
}

fn installed(name: &str) -> String {
    format!(r"{INSTALLED}\{name}")
}

/// A prefix that says it is new enough.
fn windows() -> Prefix {
    let prefix = Prefix::new();
    prefix.set_build(OLDEST);
    prefix
}

/// The files that are there now and were not before, besides what a daemon has stored or logged and Windows Installer's own folder.
fn left(prefix: &Prefix, before: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let stays = |path: &PathBuf| {
        path.starts_with("ProgramData/ctr-like")
            || path.starts_with("data")
            || path.ends_with("ctr-liked.log")
            || path.ends_with("windows/Installer")
    };
    let now = prefix.files();
    let more = now.difference(before);
    more.filter(|path| !stays(path)).cloned().collect()
}

/// Whether the daemon says that it has the files of virtual machines, and which.
fn boot_files(prefix: &Prefix, cli: &str) -> Value {
    // It has more to say, so its exit code is not the point.
    let report = prefix.run(cli, &["doctor", "--format", "json"]).stdout;
    let mut findings = report
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found = findings.find(|finding| finding["check"] == "kernel and initrd");
    found.unwrap_or_else(|| panic!("{report}"))
}

#[test]
fn the_zip_is_unpacked_and_its_programs_run_there() {
    let prefix = Prefix::new();
    let folder = prefix.drive().join("tools/my ctr-like");
    let unpack = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";
    python(unpack, &[&archive(), &folder]);
    for name in FILES {
        assert!(folder.join(name).is_file(), "{name}");
    }
    let cli = r"C:\tools\my ctr-like\ctr-like.exe";
    let told = prefix.run(cli, &["--version"]).ok();
    assert_eq!(told.trim_end(), format!("ctr-like version {}", version()));

    prefix.run(cli, &["daemon", "start"]).ok();
    let both = prefix.run(cli, &["version", "--format", "json"]).ok();
    let both: Value = serde_json::from_str(&both).unwrap();
    assert_eq!(both["Server"]["Version"], version(), "{both}");
    assert_eq!(prefix.processes(r"my ctr-like\ctr-liked.exe"), 1);
    let files = boot_files(&prefix, cli);
    assert_eq!(files["state"], "ok", "{files}");
    assert_eq!(files["found"], r"C:\tools\my ctr-like\uvm", "{files}");

    // Nothing holds the folder when the daemon has been stopped.
    prefix.run(cli, &["daemon", "stop"]).ok();
    let removed = prefix.run("cmd", &["/c", "rmdir", "/s", "/q", r"C:\tools\my ctr-like"]);
    assert!(!folder.exists(), "{removed:?}");

    let programs = run("ctr-like.exe", &[], &["completion", "powershell"])
        .code(0)
        .stdout;
    let check = "import sys, zipfile; sys.exit(zipfile.ZipFile(sys.argv[1]).read('completion/ctr-like.ps1') != open(sys.argv[2], 'rb').read())";
    let printed = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(printed.path(), &programs).unwrap();
    assert!(programs.contains("Register-ArgumentCompleter"));
    python(check, &[&archive(), printed.path()]);
}

#[test]
fn the_msi_is_installed_used_and_removed_without_a_trace() {
    let prefix = Prefix::new();
    let before = prefix.files();
    let path = prefix.path();
    assert_ne!(msiexec(&prefix, "/i", &msi(), &[]), 0, "too old a Windows");
    assert_eq!(left(&prefix, &before), Vec::<PathBuf>::new());
    prefix.set_build(OLDEST);
    assert_eq!(msiexec(&prefix, "/i", &msi(), &[]), 0);
    let folder = prefix.drive().join("Program Files/ctr-like");
    for name in FILES {
        assert!(folder.join(name).is_file(), "{name}");
    }
    let mut expected = path.clone();
    expected.push(format!(r"{INSTALLED}\"));
    assert_eq!(prefix.path(), expected);
    let product = manifest("ctr-like.ctr-like.installer.yaml", "ProductCode");
    assert!(prefix.has_key(&format!(r"{PRODUCTS}\{product}")));

    // Found on the path, as a user of a new window does it. It starts the daemon.
    let told = prefix.run("cmd", &["/c", "ctr-like", "--version"]).ok();
    assert!(told.contains(&version()), "{told}");
    prefix.run("cmd", &["/c", "ctr-like", "images"]).ok();
    let both = prefix.run(&installed("ctr-like.exe"), &["version"]).ok();
    assert!(both.contains("Server"), "{both}");
    assert_eq!(prefix.processes(&installed("ctr-liked.exe")), 1);
    let files = boot_files(&prefix, &installed("ctr-like.exe"));
    assert_eq!(files["state"], "ok", "{files}");
    assert_eq!(files["found"], installed("uvm"), "{files}");

    // With a daemon that runs.
    assert_eq!(msiexec(&prefix, "/x", &msi(), &[]), 0);
    // Wine counts a process as ended a moment before Linux does.
    wait::until("no program of the package runs", || {
        (prefix.processes(&installed("")) == 0).then_some(())
    });
    assert_eq!(left(&prefix, &before), Vec::<PathBuf>::new());
    assert_eq!(prefix.path(), path);
    assert!(!prefix.has_key(&format!(r"{PRODUCTS}\{product}")));
}

#[test]
fn removing_the_msi_removes_its_service() {
    let prefix = windows();
    let before = prefix.files();
    let cli = installed("ctr-like.exe");
    assert_eq!(msiexec(&prefix, "/i", &msi(), &[]), 0);
    let install = ["daemon", "install", "--root", r"C:\data", "--host"];
    let host = "npipe:////./pipe/ctr-like-package-test";
    prefix.run(&cli, &[&install[..], &[host]].concat()).ok();
    prefix.run(&cli, &["daemon", "start"]).ok();
    prefix.run(&cli, &["daemon", "status"]).ok();
    assert_eq!(msiexec(&prefix, "/x", &msi(), &[]), 0);
    assert!(!prefix.has_key(SERVICE));
    // Wine counts a process as ended a moment before Linux does.
    wait::until("no program of the package runs", || {
        (prefix.processes(&installed("")) == 0).then_some(())
    });
    assert_eq!(left(&prefix, &before), Vec::<PathBuf>::new());
    assert!(prefix.drive().join("data/metadata.redb").exists(), "data stays");

    // A service of another copy is nobody's business here.
    assert_eq!(msiexec(&prefix, "/i", &msi(), &[]), 0);
    let other = r"binPath=C:\other\ctr-liked.exe --service";
    prefix.run("sc", &["create", "ctr-like", other]).ok();
    assert_eq!(msiexec(&prefix, "/x", &msi(), &[]), 0);
    assert!(prefix.has_key(SERVICE));
    assert_eq!(left(&prefix, &before), Vec::<PathBuf>::new());
}

#[test]
fn a_newer_msi_replaces_an_older_one_and_keeps_the_service() {
    let prefix = windows();
    let folder = tempfile::tempdir().unwrap();
    let older = older(folder.path());
    let cli = installed("ctr-like.exe");
    let product = manifest("ctr-like.ctr-like.installer.yaml", "ProductCode");
    let keys = [OLDER, &product].map(|code| format!(r"{PRODUCTS}\{code}"));
    let there = || keys.each_ref().map(|key| prefix.has_key(key));

    assert_eq!(msiexec(&prefix, "/i", &older, &[]), 0);
    assert_eq!(there(), [true, false]);
    assert_eq!(msiexec(&prefix, "/i", &msi(), &[]), 0);
    assert_eq!(there(), [false, true]);
    let folders = prefix.path();
    let ours = folders.iter().filter(|folder| folder.starts_with(INSTALLED));
    assert_eq!(ours.count(), 1, "{folders:?}");
    assert_ne!(msiexec(&prefix, "/i", &older, &[]), 0, "an older one is refused");
    assert_eq!(there(), [false, true]);

    // What Windows does to the one that is replaced, then to the one that replaces it.
    prefix
        .run(&cli, &["daemon", "install", "--root", r"C:\data"])
        .ok();
    prefix.run(&cli, &["daemon", "start"]).ok();
    let upgrading = format!("UPGRADINGPRODUCTCODE={OLDER}");
    assert_eq!(msiexec(&prefix, "/x", &msi(), &[&upgrading]), 0);
    assert!(prefix.has_key(SERVICE), "the service stays for the next version");
    wait::until("the service has stopped", || {
        (prefix.processes(&installed("")) == 0).then_some(())
    });
    assert!(!prefix.drive().join("Program Files/ctr-like").exists());
    let detected = format!("WIX_UPGRADE_DETECTED={OLDER}");
    assert_eq!(msiexec(&prefix, "/i", &msi(), &[&detected]), 0);
    let status = prefix.run(&cli, &["daemon", "status"]).ok();
    assert!(status.contains("state    running"), "{status}");
    assert_eq!(msiexec(&prefix, "/x", &msi(), &[]), 0);
    assert!(!prefix.has_key(SERVICE));
}

/// A value of a winget manifest. Ours have no more of YAML than keys, lists and quoted strings.
fn manifest(name: &str, key: &str) -> String {
    let text = std::fs::read_to_string(packages().join("winget").join(name)).unwrap();
    let mut values = Vec::new();
    for line in text.lines() {
        let entry = line.trim_start_matches([' ', '-']);
        let (found, value) = entry.split_once(':').unwrap_or(("", entry));
        if value.is_empty() {
            continue;
        }
        let parsed: Result<String, _> =
            serde_json::from_str(if found.starts_with('"') { entry } else { value });
        let parsed = parsed.unwrap_or_else(|_| panic!("{name}: {line}"));
        if found == key {
            values.push(parsed);
        }
    }
    let first = values.first().cloned();
    values.retain(|value| Some(value) != first.as_ref());
    assert!(values.is_empty(), "{name}: {key} has several values");
    first.unwrap_or_else(|| panic!("{name} has no {key}"))
}

#[test]
fn manifests_name_the_packages_and_their_digests() {
    let scoop = std::fs::read_to_string(packages().join("scoop/ctr-like.json")).unwrap();
    let scoop: Value = serde_json::from_str(&scoop).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(scoop["version"], version());
    let download = &scoop["architecture"]["64bit"];
    assert_eq!(download["url"], format!("{URL}/{}", name(&archive())));
    assert_eq!(download["hash"], sha256(&archive()));

    let installer = "ctr-like.ctr-like.installer.yaml";
    let sum = sha256(&msi()).to_uppercase();
    assert_eq!(manifest(installer, "InstallerSha256"), sum);
    let url = format!("{URL}/{}", name(&msi()));
    assert_eq!(manifest(installer, "InstallerUrl"), url);
    let product = Command::new("msiinfo")
        .arg("export")
        .arg(msi())
        .arg("Property")
        .output()
        .unwrap();
    let product = String::from_utf8(product.stdout).unwrap();
    for property in ["ProductCode", "UpgradeCode"] {
        let line = format!("{property}\t{}", manifest(installer, property));
        assert!(
            product.lines().any(|found| found.trim_end() == line),
            "{line}: {product}"
        );
    }
    for (file, kind) in [
        ("ctr-like.ctr-like.yaml", "version"),
        (installer, "installer"),
        ("ctr-like.ctr-like.locale.en-US.yaml", "defaultLocale"),
    ] {
        assert_eq!(manifest(file, "ManifestType"), kind);
        assert_eq!(manifest(file, "PackageVersion"), version());
        assert_eq!(manifest(file, "PackageIdentifier"), "ctr-like.ctr-like");
    }
}

#[test]
fn packages_that_are_made_twice_are_the_same() {
    assert_eq!([archive(), msi()].map(|path| sha256(&path)), made().again);
}
