//! The verb `processes`: what `ps -ef` says about the processes of a container, a line of JSON each.
//!
//! A process belongs to the container when it is in the pid namespace of the container's first process, or descends from
//! one that is: namespaces below hang there. Processes come and go while they are looked at; one that has gone is left
//! out. Everything a process says about itself is cut to a measure, and names of users come from the container's own
//! `/etc/passwd`, which is not trusted either: what is no plain name stays a number.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags};
use serde::{Deserialize, Serialize};

use super::error::{FilesError, shown};
use super::node::Node;
use super::root::{Root, Target};

/// Bytes of a command line that are shown.
const COMMAND: u64 = 4 << 10;
/// Bytes of `/etc/passwd` that are looked at.
const PASSWD: u64 = 1 << 20;
/// The longest name of a user.
const NAME: usize = 32;
/// The highest share of a processor that `ps` shows.
const HIGHEST: u64 = 99;

/// The request: the container's first process.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    #[serde(flatten)]
    target: Target,
}

/// One process. Numbers are the machine's, as those of the container's first process are.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Process {
    pid: u32,
    ppid: u32,
    user: String,
    /// Percent of a processor over its whole life.
    cpu: u64,
    /// For how many seconds it lives.
    age: u64,
    tty: String,
    /// Seconds of processor time.
    time: u64,
    command: String,
}

/// What `/proc/N/stat` says.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    zombie: bool,
    ppid: u32,
    tty: u32,
    /// In clock ticks.
    used: u64,
    /// In clock ticks since the machine's boot.
    began: u64,
}

/// Writes a line for each process.
pub(super) fn run(request: &Request, mut output: impl Write) -> Result<(), FilesError> {
    let pid = request
        .target
        .process()
        .ok_or_else(|| FilesError::invalid("the request must have `pid`, the container's first process"))?;
    // A container whose root cannot be opened has ended.
    let root = Root::open(&request.target)?;
    let names = names(&passwd(&root));
    let proc = Path::new("/proc");
    let clock = Clock::read(proc).map_err(|error| FilesError::system("read", b"/proc/uptime", error))?;
    for (pid, stat) in inside(proc, pid)? {
        let Ok(process) = describe(proc, pid, &stat, &clock, &names) else {
            continue;
        };
        serde_json::to_writer(&mut output, &process).map_err(|error| FilesError::output(error.into()))?;
        output.write_all(b"\n").map_err(FilesError::output)?;
    }
    output.flush().map_err(FilesError::output)
}

/// The processes of a container by number.
fn inside(proc: &Path, first: u32) -> Result<BTreeMap<u32, Stat>, FilesError> {
    let namespace = |pid: u32| -> io::Result<PathBuf> { fs::read_link(proc.join(format!("{pid}/ns/pid"))) };
    let home = namespace(first).map_err(|error| {
        FilesError::system(
            "read the namespace of process",
            first.to_string().as_bytes(),
            error,
        )
    })?;
    let entries = fs::read_dir(proc).map_err(|error| FilesError::system("list", b"/proc", error))?;
    let mut all = BTreeMap::new();
    let mut known = HashSet::new();
    for entry in entries.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let text = fs::read(entry.path().join("stat"));
        let Some(stat) = text.ok().and_then(|text| stat(&shown(&text))) else {
            continue;
        };
        if namespace(pid).is_ok_and(|found| found == home) {
            known.insert(pid);
        }
        all.insert(pid, stat);
    }
    Ok(descendants(all, known))
}

/// Those that are known to belong, and what descends from them.
fn descendants(mut all: BTreeMap<u32, Stat>, mut known: HashSet<u32>) -> BTreeMap<u32, Stat> {
    loop {
        let before = known.len();
        let children = all.iter().filter(|(_, stat)| known.contains(&stat.ppid));
        let children: Vec<u32> = children.map(|(pid, _)| *pid).collect();
        known.extend(children);
        if known.len() == before {
            break;
        }
    }
    all.retain(|pid, _| known.contains(pid));
    all
}

fn describe(
    proc: &Path,
    pid: u32,
    stat: &Stat,
    clock: &Clock,
    names: &HashMap<u32, String>,
) -> io::Result<Process> {
    let directory = proc.join(pid.to_string());
    let user = user(&fs::read_to_string(directory.join("status"))?);
    let user = user.map_or_else(
        || "?".to_owned(),
        |uid| names.get(&uid).cloned().unwrap_or_else(|| uid.to_string()),
    );
    let mut words = Vec::new();
    if !stat.zombie {
        File::open(directory.join("cmdline"))?
            .take(COMMAND)
            .read_to_end(&mut words)?;
    }
    let used = stat.used / clock.ticks;
    let age = clock.uptime.saturating_sub(stat.began / clock.ticks);
    Ok(Process {
        pid,
        ppid: stat.ppid,
        user,
        cpu: (used * 100).checked_div(age).unwrap_or(0).min(HIGHEST),
        age,
        tty: terminal(stat.tty),
        time: used,
        command: command(&words, stat),
    })
}

/// The machine's clock.
struct Clock {
    /// Seconds since its boot.
    uptime: u64,
    /// Ticks in a second.
    ticks: u64,
}

impl Clock {
    fn read(proc: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(proc.join("uptime"))?;
        let seconds = text.split(['.', ' ']).next().and_then(|text| text.parse().ok());
        Ok(Self {
            uptime: seconds.ok_or_else(|| io::Error::other("not a number of seconds"))?,
            ticks: rustix::param::clock_ticks_per_second().max(1),
        })
    }
}

/// The name of a program may have any characters, so the fields are counted from its end.
fn stat(text: &str) -> Option<Stat> {
    let (before, after) = text.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        name: name.to_owned(),
        zombie: *fields.first()? == "Z",
        ppid: fields.get(1)?.parse().ok()?,
        // The kernel prints a number without sign as one with it.
        tty: fields.get(4)?.parse::<i32>().ok()?.cast_unsigned(),
        used: number(11)?.saturating_add(number(12)?),
        began: number(19)?,
    })
}

/// The effective user in `/proc/N/status`.
fn user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The name of a terminal from its device number.
fn terminal(device: u32) -> String {
    let (major, minor) = (
        (device >> 8) & 0xfff,
        (device & 0xff) | ((device >> 12) & 0xfff00),
    );
    match (major, minor) {
        (0, _) => "?".to_owned(),
        (4, 0..64) => format!("tty{minor}"),
        (4, _) => format!("ttyS{}", minor - 64),
        (5, 1) => "console".to_owned(),
        (136..=143, _) => format!("pts/{}", (major - 136) * 256 + minor),
        (229, _) => format!("hvc{minor}"),
        _ => format!("{major}:{minor}"),
    }
}

/// The words of a command line, or in brackets the name of a program that has none.
fn command(words: &[u8], stat: &Stat) -> String {
    if stat.zombie {
        return format!("[{}] <defunct>", stat.name);
    }
    let text = shown(words);
    let text = text.trim_end_matches('\0').replace('\0', " ");
    if text.is_empty() {
        return format!("[{}]", stat.name);
    }
    text
}

/// The content of the container's list of users, if it is a file.
fn passwd(root: &Root) -> Vec<u8> {
    let content = || -> io::Result<Vec<u8>> {
        let node = Node::of(root.find(b"/etc/passwd", OFlags::empty())?)?;
        let mut content = Vec::new();
        if node.kind() == FileType::RegularFile && !node.is_of_the_kernel()? {
            node.content()?.take(PASSWD).read_to_end(&mut content)?;
        }
        Ok(content)
    };
    // Without it, users have numbers.
    content().unwrap_or_default()
}

/// The names of users by number; the first one counts.
fn names(passwd: &[u8]) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in passwd.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        let (Some(name), Some(uid)) = (fields.next(), fields.nth(1)) else {
            continue;
        };
        let uid = std::str::from_utf8(uid).ok().and_then(|uid| uid.parse().ok());
        let plain = (1..=NAME).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic);
        if let (Some(uid), true) = (uid, plain) {
            names.entry(uid).or_insert_with(|| shown(name));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child_of(ppid: u32) -> Stat {
        Stat {
            name: "x".to_owned(),
            zombie: false,
            ppid,
            tty: 0,
            used: 0,
            began: 0,
        }
    }

    #[test]
    fn a_program_may_be_called_anything() {
        let text = "7 (a) S 9 (\n)) Z 3 7 7 34816 7 4194560 100 0 0 0 250 50 0 0 20 0 1 0 9000 1 1\n";
        let stat = stat(text).unwrap();
        assert_eq!(
            stat,
            Stat {
                name: "a) S 9 (\n)".to_owned(),
                zombie: true,
                ppid: 3,
                tty: 34816,
                used: 300,
                began: 9000
            }
        );
        assert_eq!(command(b"", &stat), "[a) S 9 (\n)] <defunct>");
        for text in ["", "7 (a", "7 (a) S", "7 a S 3 7 7"] {
            assert_eq!(super::stat(text), None, "{text}");
        }
    }

    #[test]
    fn terminals_have_the_names_of_their_devices() {
        for (device, name) in [
            (0, "?"),
            (0x0401, "tty1"),
            (0x0440, "ttyS0"),
            (0x0501, "console"),
            (0x8803, "pts/3"),
            (0x8903, "pts/259"),
            (0xe500, "hvc0"),
            (0x0a00, "10:0"),
        ] {
            assert_eq!(terminal(device), name, "{device:#x}");
        }
    }

    #[test]
    fn command_lines_are_words_or_a_name_in_brackets() {
        let stat = child_of(1);
        assert_eq!(command(b"sh\0-c\0a b\0", &stat), "sh -c a b");
        assert_eq!(command(b"title without end", &stat), "title without end");
        assert_eq!(command(b"", &stat), "[x]");
        assert_eq!(command(b"\0\0", &stat), "[x]");
    }

    #[test]
    fn only_plain_names_of_users_count_and_the_first_of_each_number() {
        let names = names(
            b"root:x:0:0::/:\nevil\x1b[2J:x:1:\ntoor:x:0:\n\xff:x:2:\n:x:3:\n\napp:x:1000:1000\nbroken\nn:x:-1:\n",
        );
        assert_eq!(
            names,
            HashMap::from([(0, "root".to_owned()), (1000, "app".to_owned())])
        );
        assert_eq!(user("Name:\tx\nUid:\t1000\t1001\t1000\t1000\n"), Some(1001));
        assert_eq!(user("Name:\tx\n"), None);
    }

    #[test]
    fn what_descends_from_a_member_belongs_too() {
        let all: BTreeMap<u32, Stat> = [(1, 0), (5, 1), (9, 20), (20, 5), (7, 1), (30, 9)]
            .map(|(pid, ppid)| (pid, child_of(ppid)))
            .into();
        let found = descendants(all, HashSet::from([5]));
        assert_eq!(found.into_keys().collect::<Vec<_>>(), [5, 9, 20, 30]);
    }

    #[test]
    fn our_own_process_is_described() {
        let proc = Path::new("/proc");
        let own = std::process::id();
        let all = inside(proc, own).unwrap();
        let clock = Clock::read(proc).unwrap();
        let process = describe(proc, own, &all[&own], &clock, &HashMap::new()).unwrap();
        assert_eq!(process.user, rustix::process::geteuid().as_raw().to_string());
        assert!(process.command.contains("guest"), "{process:?}");
        assert!(process.age < 3600 * 24, "{process:?}");
    }
}
