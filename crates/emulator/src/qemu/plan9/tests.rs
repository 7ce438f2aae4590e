//! The server against a client that does what it likes.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use hcs::{Plan9Share, plan9_flags};
use rustix::io::Errno;

use super::wire::{Answer, Body, HEADER, request};
use super::{Shares, session};
use crate::qemu::vsock::Ports;

struct Client {
    stream: UnixStream,
    _shares: Arc<std::sync::Mutex<Shares>>,
}

impl Client {
    fn new(path: &Path, flags: u32, files: &[&str]) -> Self {
        let mut shares = Shares::new(Arc::<Ports>::default());
        shares.add(&share("s", path, flags, files)).unwrap();
        let shares = Arc::new(std::sync::Mutex::new(shares));
        let (ours, theirs) = UnixStream::pair().unwrap();
        let table = Arc::clone(&shares.lock().unwrap().table);
        std::thread::spawn(move || session::run(&theirs, |name| table.find(name)));
        let mut client = Self {
            stream: ours,
            _shares: shares,
        };
        client
            .ask(request::VERSION, |ask| {
                ask.u32(65536);
                ask.string(b"9P2000.L").unwrap();
            })
            .unwrap();
        client.attach(0, b"s").unwrap();
        client
    }

    fn ask(&mut self, kind: u8, fill: impl FnOnce(&mut Answer)) -> Result<Vec<u8>, Errno> {
        let mut ask = Answer::new();
        fill(&mut ask);
        self.stream.write_all(&ask.finish(kind - 1, 7)).unwrap();
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header).unwrap();
        let size = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        let mut body = vec![0; size - HEADER];
        self.stream.read_exact(&mut body).unwrap();
        if header[4] == 7 {
            let number = Body(&body).u32().unwrap();
            return Err(Errno::from_raw_os_error(i32::try_from(number).unwrap()));
        }
        assert_eq!(header[4], kind + 1);
        Ok(body)
    }

    fn attach(&mut self, number: u32, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.ask(request::ATTACH, |ask| {
            ask.u32(number);
            ask.u32(u32::MAX);
            ask.string(b"root").unwrap();
            ask.string(name).unwrap();
            ask.u32(0);
        })
    }

    /// How many of the names were found.
    fn walk(&mut self, from: u32, to: u32, names: &[&[u8]]) -> Result<u16, Errno> {
        let answer = self.ask(request::WALK, |ask| {
            ask.u32(from);
            ask.u32(to);
            ask.u16(u16::try_from(names.len()).unwrap());
            for name in names {
                ask.string(name).unwrap();
            }
        })?;
        Body(&answer).u16()
    }

    fn open(&mut self, number: u32, flags: u32) -> Result<(), Errno> {
        let open = |ask: &mut Answer| {
            ask.u32(number);
            ask.u32(flags);
        };
        self.ask(request::LOPEN, open).map(drop)
    }

    fn read(&mut self, number: u32) -> Result<Vec<u8>, Errno> {
        let answer = self.ask(request::READ, |ask| {
            ask.u32(number);
            ask.u64(0);
            ask.u32(1 << 20);
        })?;
        Ok(answer[4..].to_vec())
    }

    fn create(&mut self, directory: u32, name: &[u8]) -> Result<(), Errno> {
        let create = |ask: &mut Answer| {
            ask.u32(directory);
            ask.string(name).unwrap();
            ask.u32(0o2 | 0o100 | 0o200);
            ask.u32(0o666);
            ask.u32(100);
        };
        self.ask(request::LCREATE, create).map(drop)
    }

    fn names(&mut self, number: u32) -> Vec<String> {
        self.walk(number, 99, &[]).unwrap();
        self.open(99, 0).unwrap();
        let answer = self
            .ask(request::READDIR, |ask| {
                ask.u32(99);
                ask.u64(0);
                ask.u32(60000);
            })
            .unwrap();
        self.ask(request::CLUNK, |ask| ask.u32(99)).unwrap();
        let mut body = Body(&answer[4..]);
        let mut names = Vec::new();
        while !body.0.is_empty() {
            body.bytes(13 + 8 + 1).unwrap();
            names.push(String::from_utf8(body.string().unwrap().to_vec()).unwrap());
        }
        names.retain(|name| name != "." && name != "..");
        names.sort();
        names
    }
}

fn share(name: &str, path: &Path, flags: u32, files: &[&str]) -> Plan9Share {
    Plan9Share {
        name: name.to_owned(),
        path: path.to_str().unwrap().to_owned(),
        flags,
        allowed_files: files.iter().map(|file| (*file).to_owned()).collect(),
        ..Default::default()
    }
}

#[test]
fn files_are_made_written_listed_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let mut client = Client::new(directory.path(), 0, &[]);
    client.walk(0, 1, &[]).unwrap();
    client.create(1, b"new").unwrap();
    let written = client.ask(request::WRITE, |ask| {
        ask.u32(1);
        ask.u64(0);
        ask.u32(5);
        ask.bytes(b"hello");
    });
    assert_eq!(written.unwrap(), 5u32.to_le_bytes());
    assert_eq!(client.read(1).unwrap(), b"hello");
    let metadata = directory.path().join("new").metadata().unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.gid()), (0o666, 100));
    client
        .ask(request::MKDIR, |ask| {
            ask.u32(0);
            ask.string(b"sub").unwrap();
            ask.u32(0o1777);
            ask.u32(0);
        })
        .unwrap();
    assert_eq!(
        directory.path().join("sub").metadata().unwrap().mode() & 0o7777,
        0o1777
    );
    client.walk(0, 2, &[b"sub"]).unwrap();
    client
        .ask(request::RENAMEAT, |ask| {
            ask.u32(0);
            ask.string(b"new").unwrap();
            ask.u32(2);
            ask.string(b"moved").unwrap();
        })
        .unwrap();
    assert_eq!(client.names(0), ["sub"]);
    assert_eq!(client.names(2), ["moved"]);
    // Still open under its old number.
    assert_eq!(client.read(1).unwrap(), b"hello");
    client
        .ask(request::UNLINKAT, |ask| {
            ask.u32(2);
            ask.string(b"moved").unwrap();
            ask.u32(0);
        })
        .unwrap();
    assert!(client.names(2).is_empty());
}

#[test]
fn nothing_leads_out_of_a_share() {
    let directory = tempfile::tempdir().unwrap();
    let (inside, outside) = (directory.path().join("in"), directory.path().join("out"));
    std::fs::create_dir(&inside).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    symlink(&outside, inside.join("link")).unwrap();
    symlink("../out/secret", inside.join("file-link")).unwrap();
    let mut client = Client::new(&inside, 0, &[]);
    for names in [
        &[b"..".as_slice()][..],
        &[b"../out"],
        &[b"."],
        &[b""],
        &[b"/etc"],
        &[b"a\0b"],
    ] {
        assert_eq!(client.walk(0, 1, names), Err(Errno::INVAL), "{names:?}");
    }
    // A link is found as itself; nothing is below it, and it cannot be opened.
    assert_eq!(client.walk(0, 1, &[b"link", b"secret"]), Ok(1));
    assert_eq!(client.walk(0, 1, &[b"file-link"]), Ok(1));
    assert_eq!(client.open(1, 0), Err(Errno::LOOP));
    assert_eq!(client.read(1), Err(Errno::BADF));
    client.walk(0, 2, &[b"link"]).unwrap();
    assert!(client.create(2, b"planted").is_err());
    assert!(client.create(0, b"../out/planted").is_err());
    // Creating through a link that exists does not follow it.
    let create = client.ask(request::LCREATE, |ask| {
        ask.u32(0);
        ask.string(b"file-link").unwrap();
        ask.u32(0o2 | 0o100);
        ask.u32(0o666);
        ask.u32(0);
    });
    assert_eq!(create.map(drop), Err(Errno::LOOP));
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(std::fs::read_to_string(outside.join("secret")).unwrap(), "secret");
}

#[test]
fn a_guest_makes_no_devices_and_opens_none() {
    let directory = tempfile::tempdir().unwrap();
    let mut client = Client::new(directory.path(), 0, &[]);
    let mut make = |mode: u32| {
        client
            .ask(request::MKNOD, |ask| {
                ask.u32(0);
                ask.string(format!("{mode:o}").as_bytes()).unwrap();
                ask.u32(mode);
                ask.u32(1);
                ask.u32(3);
                ask.u32(0);
            })
            .map(drop)
    };
    assert_eq!(make(0o020_666), Err(Errno::PERM));
    assert_eq!(make(0o060_666), Err(Errno::PERM));
    assert_eq!(make(0o010_600), Ok(()));
    client.walk(0, 1, &[b"10600"]).unwrap();
    // Opening a pipe would wait for a partner for ever.
    assert_eq!(client.open(1, 0), Err(Errno::ACCESS));
}

#[test]
fn a_read_only_share_is_not_changed() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "text").unwrap();
    let mut client = Client::new(directory.path(), plan9_flags::READ_ONLY, &[]);
    client.walk(0, 1, &[b"file"]).unwrap();
    assert_eq!(client.open(1, 1), Err(Errno::ROFS));
    assert_eq!(client.open(1, 0o1000), Err(Errno::ROFS));
    assert_eq!(client.create(0, b"new"), Err(Errno::ROFS));
    let truncated = client.ask(request::SETATTR, |ask| {
        ask.u32(1);
        ask.u32(0x8);
        for _ in 0..3 {
            ask.u32(0);
        }
        for _ in 0..5 {
            ask.u64(0);
        }
    });
    assert_eq!(truncated.map(drop), Err(Errno::ROFS));
    let removed = client.ask(request::UNLINKAT, |ask| {
        ask.u32(0);
        ask.string(b"file").unwrap();
        ask.u32(0);
    });
    assert_eq!(removed.map(drop), Err(Errno::ROFS));
    client.open(1, 0).unwrap();
    assert_eq!(client.read(1).unwrap(), b"text");
}

#[test]
fn a_share_of_one_file_shows_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("app.config"), "mine").unwrap();
    std::fs::write(directory.path().join("secret"), "secret").unwrap();
    let mut client = Client::new(
        directory.path(),
        plan9_flags::RESTRICT_FILE_ACCESS,
        &["app.config"],
    );
    assert_eq!(client.names(0), ["app.config"]);
    assert_eq!(client.walk(0, 1, &[b"secret"]), Err(Errno::NOENT));
    assert_eq!(client.create(0, b"new"), Err(Errno::ACCESS));
    client.walk(0, 2, &[b"app.config"]).unwrap();
    client.open(2, 2).unwrap();
    assert_eq!(client.read(2).unwrap(), b"mine");
}

#[test]
fn attributes_of_the_host_stay_its_own() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let mut client = Client::new(directory.path(), 0, &[]);
    let set = |client: &mut Client, number: u32, name: &[u8]| {
        client.walk(0, number, &[b"file"]).unwrap();
        client
            .ask(request::XATTRCREATE, |ask| {
                ask.u32(number);
                ask.string(name).unwrap();
                ask.u64(2);
                ask.u32(0);
            })
            .unwrap();
        client
            .ask(request::WRITE, |ask| {
                ask.u32(number);
                ask.u64(0);
                ask.u32(2);
                ask.bytes(b"me");
            })
            .unwrap();
        client.ask(request::CLUNK, |ask| ask.u32(number)).map(drop)
    };
    assert_eq!(set(&mut client, 1, b"security.capability"), Err(Errno::OPNOTSUPP));
    assert_eq!(
        set(&mut client, 2, b"trusted.overlay.opaque"),
        Err(Errno::OPNOTSUPP)
    );
    if set(&mut client, 3, b"user.name") == Ok(()) {
        client.walk(0, 4, &[b"file"]).unwrap();
        client
            .ask(request::XATTRWALK, |ask| {
                ask.u32(4);
                ask.u32(5);
                ask.string(b"user.name").unwrap();
            })
            .unwrap();
        assert_eq!(client.read(5).unwrap(), b"me");
    }
}

#[test]
fn a_share_that_was_taken_back_is_stale() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "text").unwrap();
    let mut client = Client::new(directory.path(), 0, &[]);
    client.walk(0, 1, &[b"file"]).unwrap();
    client.open(1, 0).unwrap();
    client._shares.lock().unwrap().remove("s").unwrap();
    assert_eq!(client.read(1), Err(Errno::STALE));
    assert_eq!(client.attach(7, b"s").map(drop), Err(Errno::NOENT));
    assert!(client._shares.lock().unwrap().remove("s").is_err());
}

#[test]
fn nonsense_is_answered_or_ends_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let mut client = Client::new(directory.path(), 0, &[]);
    for kind in 1..=126u8 {
        if kind % 2 == 0 && kind != request::VERSION {
            // A request without a body.
            let _ = client.ask(kind, |_| {});
        }
    }
    assert!(client.names(0).is_empty());
    client.stream.write_all(&u32::MAX.to_le_bytes()).unwrap();
    let mut rest = Vec::new();
    assert_eq!(client.stream.read_to_end(&mut rest).unwrap(), 0);
}
