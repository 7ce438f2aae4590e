//! The prepared prefix: what a fresh Windows looks like under this version of Wine, made once and then only read.
//!
//! ```text
//! <prefix dir>/<version>/Files/      the drive C:, named as Windows names things
//!                        Registry/   system.reg, user.reg, userdef.reg
//! ```
//!
//! Wine itself makes it, in some seconds, with no display and nothing of the caller's. A lock lets one process do that at a time;
//! the directory appears under its name only when it is complete.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::fs::{FlockOperation, flock};

use crate::config::WineConfig;

/// Counts the ways in which prefixes have been prepared: one that was prepared in another way is not used.
const FORMAT: u32 = 1;
/// Where Debian puts the loader, which is not in `PATH` there.
const USUAL: [&str; 4] = [
    "/usr/lib/wine/wine64",
    "/usr/bin/wine64",
    "/opt/wine-stable/bin/wine64",
    "/opt/wine-staging/bin/wine64",
];
/// The files of the registry.
const REGISTRY: [&str; 3] = ["system.reg", "user.reg", "userdef.reg"];
/// Directories as Wine names them and as Windows does, outer ones first.
const NAMES: [(&str, &str); 7] = [
    ("users", "Users"),
    ("windows", "Windows"),
    ("Windows/system32", "Windows/System32"),
    ("Windows/syswow64", "Windows/SysWOW64"),
    ("Windows/temp", "Windows/Temp"),
    ("Windows/system", "Windows/System"),
    ("Windows/winsxs", "Windows/WinSxS"),
];
/// The accounts of a container; Wine has one.
const ACCOUNTS: [&str; 2] = ["ContainerAdministrator", "ContainerUser"];
/// What Wine links to directories of whoever prepares the prefix.
const FOLDERS: [&str; 6] = ["Desktop", "Documents", "Downloads", "Music", "Pictures", "Videos"];

/// Why there is no prefix.
#[derive(Debug, thiserror::Error)]
pub enum PrefixError {
    /// Wine is not installed.
    #[error(
        "Windows containers need Wine, and there is no {program} on this host: install Debian's package wine64 (apt-get install wine64)"
    )]
    NoWine {
        /// What was looked for.
        program: String,
    },
    /// A program of ours is missing.
    #[error("{} is missing: build it with scripts/build-guest", path.display())]
    NoHelper {
        /// The program.
        path: PathBuf,
    },
    /// Wine failed.
    #[error("{program} cannot prepare a prefix in {}: {said}", directory.display())]
    Wine {
        /// The program that was run.
        program: String,
        /// Where.
        directory: PathBuf,
        /// Its last words, or how it ended.
        said: String,
    },
    /// A file of the prefix cannot be made.
    #[error("cannot prepare {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

type Result<T> = std::result::Result<T, PrefixError>;

/// Prepares the prefix of the installed Wine, unless that has been done, and returns its directory. Blocks, the first time for
/// some seconds.
///
/// # Errors
/// When Wine or the helper is missing, or Wine fails.
pub fn prepare_prefix(config: &WineConfig) -> Result<PathBuf> {
    let wine = find_wine(config)?;
    if !config.helper.is_file() {
        return Err(PrefixError::NoHelper {
            path: config.helper.clone(),
        });
    }
    let version = format!("{}-{FORMAT}", version(&wine)?);
    let prefix = config.prefix_dir.join(&version);
    if prefix.is_dir() {
        return Ok(prefix);
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PrefixError::File { path, source }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(&config.prefix_dir)
        .map_err(failed(&config.prefix_dir))?;
    let lock = config.prefix_dir.join(format!("{version}.lock"));
    let held = File::create(&lock).map_err(failed(&lock))?;
    flock(&held, FlockOperation::LockExclusive).map_err(|errno| failed(&lock)(errno.into()))?;
    if prefix.is_dir() {
        return Ok(prefix);
    }
    let temporary = config.prefix_dir.join(format!("{version}.new"));
    // What a killed process left; the lock says that nobody works on it.
    remove(&temporary).map_err(failed(&temporary))?;
    tracing::info!(version, "preparing a prefix of Wine");
    let made = make(config, &wine, &temporary).and_then(|()| {
        rustix::fs::sync();
        fs::rename(&temporary, &prefix).map_err(failed(&prefix))
    });
    if made.is_err()
        && let Err(error) = remove(&temporary)
    {
        tracing::warn!(path = %temporary.display(), %error, "an unfinished prefix stays");
    }
    made.map(|()| prefix)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Wine's loader. Looks, and runs nothing.
///
/// # Errors
/// There is none; the error names the package.
pub fn find_wine(config: &WineConfig) -> Result<PathBuf> {
    let program = &config.program;
    let found = if program.is_absolute() {
        program.is_file().then(|| program.clone())
    } else {
        let usual = program.as_os_str() == "wine64";
        let usual = USUAL.iter().filter(|_| usual).map(PathBuf::from);
        let search = ["/usr/local/bin", "/usr/bin", "/bin"]
            .iter()
            .map(|directory| Path::new(directory).join(program));
        usual.chain(search).find(|path| path.is_file())
    };
    // Its programs and libraries are found from where it really is.
    let found = found.and_then(|path| {
        let mut place = path;
        while let Ok(to) = fs::read_link(&place) {
            place = place.parent().unwrap_or(Path::new("/")).join(to);
        }
        std::path::absolute(place).ok()
    });
    found.ok_or_else(|| PrefixError::NoWine {
        program: program.display().to_string(),
    })
}

/// The version as a directory name.
fn version(wine: &Path) -> Result<String> {
    let failed = |said: String| PrefixError::Wine {
        program: wine.display().to_string(),
        directory: PathBuf::from("/"),
        said,
    };
    let output = Command::new(wine)
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    };
    let name: String = text.trim().chars().map(plain).collect();
    let name = name.trim_matches(['-', '.']).to_owned();
    if !output.status.success() || name.is_empty() {
        return Err(failed(last_words(&output)));
    }
    Ok(name)
}

fn make(config: &WineConfig, wine: &Path, at: &Path) -> Result<()> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PrefixError::File { path, source }
    };
    // Wine's own layout first; ours is taken from it.
    let raw = at.join("raw");
    for directory in [&raw, &at.join("home"), &at.join("Registry")] {
        fs::create_dir_all(directory).map_err(failed(directory))?;
    }
    let booted = run(wine, &["wineboot.exe", "--init"], at, &raw);
    let server = wine.parent().unwrap_or(Path::new("/")).join("wineserver");
    // Whatever came of the boot: nothing of it may go on.
    let ended = match &booted {
        Ok(()) => run(&server, &["-w"], at, &raw),
        Err(_) => run(&server, &["-k"], at, &raw),
    };
    booted?;
    ended?;
    let drive = at.join("Files");
    fs::rename(raw.join("drive_c"), &drive).map_err(failed(&drive))?;
    for file in REGISTRY {
        let path = raw.join(file);
        let text = fs::read_to_string(&path).map_err(failed(&path))?;
        let target = at.join("Registry").join(file);
        fs::write(&target, registry(file, &text)).map_err(failed(&target))?;
    }
    for (wines, windows) in NAMES {
        let (from, to) = (drive.join(wines), drive.join(windows));
        if from.is_dir() {
            fs::rename(&from, &to).map_err(failed(&to))?;
        }
    }
    let users = drive.join("Users");
    profiles(&users).map_err(failed(&users))?;
    libraries(config, &drive)?;
    for rest in [&raw, &at.join("home")] {
        remove(rest).map_err(failed(rest))?;
    }
    Ok(())
}

/// DLLs that newer programs need and that older versions of Wine lack.
fn libraries(config: &WineConfig, drive: &Path) -> Result<()> {
    const RANDOM: &str = "bcryptprimitives.dll";
    let target = drive.join("Windows/System32").join(RANDOM);
    if target.exists() {
        return Ok(());
    }
    let source = config.helper.with_file_name(RANDOM);
    match fs::copy(&source, &target) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PrefixError::NoHelper { path: source }),
        Err(source) => Err(PrefixError::File { path: target, source }),
    }
}

/// One profile per account, without the links that Wine makes.
fn profiles(users: &Path) -> io::Result<()> {
    let mut made = None;
    for entry in fs::read_dir(users)? {
        let entry = entry?;
        if !entry.file_name().eq_ignore_ascii_case("public") && entry.file_type()?.is_dir() {
            made = Some(entry.path());
        }
    }
    for account in ACCOUNTS {
        let home = users.join(account);
        if account == ACCOUNTS[0] {
            match &made {
                Some(own) => fs::rename(own, &home)?,
                None => fs::create_dir_all(&home)?,
            }
        }
        for folder in FOLDERS {
            let path = home.join(folder);
            if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
                fs::remove_file(&path)?;
            }
            fs::create_dir_all(&path)?;
        }
        for folder in [
            "AppData/Roaming",
            "AppData/Local/Temp",
            "AppData/LocalLow",
            "Temp",
        ] {
            fs::create_dir_all(home.join(folder))?;
        }
    }
    Ok(())
}

/// A file of the registry as containers get it: nothing of whoever prepared it.
fn registry(file: &str, text: &str) -> String {
    let mut text = rename_user(text);
    if file == "user.reg" {
        // The last section of a name counts.
        text.push_str(
            r#"
[Volatile Environment]
"APPDATA"="C:\\Users\\ContainerAdministrator\\AppData\\Roaming"
"CLIENTNAME"="Console"
"HOMEDRIVE"="C:"
"HOMEPATH"="\\Users\\ContainerAdministrator"
"LOCALAPPDATA"="C:\\Users\\ContainerAdministrator\\AppData\\Local"
"LOGONSERVER"=""
"SESSIONNAME"="Console"
"USERDOMAIN"="User Manager"
"USERNAME"="ContainerAdministrator"
"USERPROFILE"="C:\\Users\\ContainerAdministrator"

[Environment]
"TEMP"="C:\\Users\\ContainerAdministrator\\AppData\\Local\\Temp"
"TMP"="C:\\Users\\ContainerAdministrator\\AppData\\Local\\Temp"
"#,
        );
    }
    text
}

/// Replaces the account that prepared the prefix in paths of profiles.
fn rename_user(text: &str) -> String {
    const BEFORE: &str = r"C:\\users\\";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.to_ascii_lowercase().find(&BEFORE.to_ascii_lowercase()) {
        let (head, tail) = rest.split_at(at);
        let tail = &tail[BEFORE.len()..];
        let end = tail.find(['\\', '"', '\n', ';']).unwrap_or(tail.len());
        let name = &tail[..end];
        out.push_str(head);
        out.push_str(r"C:\\Users\\");
        out.push_str(if name.eq_ignore_ascii_case("public") {
            "Public"
        } else {
            ACCOUNTS[0]
        });
        rest = &tail[end..];
    }
    out.push_str(rest);
    out
}

/// Runs a program of Wine on the raw prefix, to its end.
fn run(program: &Path, arguments: &[&str], at: &Path, prefix: &Path) -> Result<()> {
    let failed = |said: String| PrefixError::Wine {
        program: program.display().to_string(),
        directory: prefix.to_owned(),
        said,
    };
    let mut command = Command::new(program);
    crate::kernel::have_fixed_addresses(&mut command);
    let output = command
        .args(arguments)
        .current_dir(at)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", at.join("home"))
        .env("LC_ALL", "C.UTF-8")
        .env("WINEPREFIX", prefix)
        .env("WINEARCH", "win64")
        .env("WINEDEBUG", "-all")
        // No window asks for .NET or a browser, and no menus are made.
        .env("WINEDLLOVERRIDES", "mscoree,mshtml=;winemenubuilder.exe=d")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(last_words(&output)))
    }
}

fn last_words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(directory: &Path) -> WineConfig {
        WineConfig {
            program: directory.join("wine64"),
            prefix_dir: directory.join("prefix"),
            helper: directory.join("ctr-like-init.exe"),
        }
    }

    #[test]
    fn an_absent_wine_names_the_package() {
        let place = tempfile::tempdir().unwrap();
        let error = prepare_prefix(&config(place.path())).unwrap_err();
        assert!(error.to_string().contains("apt-get install wine64"), "{error}");
        assert!(!place.path().join("prefix").exists());
    }

    #[test]
    fn a_wine_that_fails_leaves_nothing_and_is_quoted() {
        let place = tempfile::tempdir().unwrap();
        let script = "#!/bin/sh\n[ \"$1\" = --version ] && { echo 'wine-8.0 (Debian 8.0)'; exit 0; }\necho \"out of order: $(cat /proc/self/personality)\" >&2\nexit 1\n";
        for name in ["wine64", "wineserver"] {
            let path = place.path().join(name);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let config = config(place.path());
        let error = prepare_prefix(&config).unwrap_err();
        assert!(error.to_string().contains("scripts/build-guest"), "{error}");
        fs::write(&config.helper, "").unwrap();
        let error = prepare_prefix(&config).unwrap_err();
        // Where Wine's loader has its heap is not left to chance.
        assert!(error.to_string().contains("out of order: 00040000"), "{error}");
        let left: Vec<_> = fs::read_dir(&config.prefix_dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["wine-8.0--Debian-8.0-1.lock"]);
    }

    #[test]
    fn the_registry_forgets_who_prepared_it() {
        let text = "\"a\"=\"C:\\\\users\\\\root\\\\Temp\"\n\"b\"=\"C:\\\\users\\\\Public\"\n";
        let expected =
            "\"a\"=\"C:\\\\Users\\\\ContainerAdministrator\\\\Temp\"\n\"b\"=\"C:\\\\Users\\\\Public\"\n";
        assert_eq!(rename_user(text), expected);
    }
}
