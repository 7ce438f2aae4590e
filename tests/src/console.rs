//! A Windows program at a console of Wine, whose screen is a terminal of Linux.
//!
//! What is typed goes through the terminal, as far as Wine lets it: consoles of Wine 8 do not hear of new sizes of the terminal, and a
//! byte of Ctrl-C ends them. Those come from `tests/wine/terminal.c`, which starts the program and is at the same console.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::terminal::Terminal;
use crate::wait;
use crate::wine::compiled;

/// Wide, because Wine's console does not know escape sequences and gives their characters room.
const SIZE: (u16, u16) = (50, 2000);
/// Echo, whole lines and the handling of Ctrl-C: what is off while keys are raw.
const COOKED: u32 = 0b111;

/// A program at a console.
#[derive(Debug)]
pub struct Console {
    /// Where a person sits.
    pub terminal: Terminal,
    line: BufReader<TcpStream>,
    before: Modes,
}

/// The modes of a console: input, output, and the code pages of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modes([u32; 4]);

impl Modes {
    /// Whether keys arrive one by one, without echo and without being interpreted.
    #[must_use]
    pub fn are_raw(self) -> bool {
        self.0[0] & COOKED == 0
    }
}

fn helper() -> PathBuf {
    static BUILT: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let _ = compiled(folder.path(), "terminal", &["-municode", "-lws2_32"]);
        folder
    });
    folder.path().join("terminal.exe")
}

impl Console {
    pub(crate) fn of(prefix: Option<&OsString>, program: &Path, arguments: &[&str]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mut command = Command::new("timeout");
        command
            .args(["--foreground", "900", "wine"])
            .arg(helper())
            .args([&port.to_string(), "at"])
            .arg(program)
            .args(arguments)
            .envs(std::env::vars_os())
            .env("CTR_LIKE_NO_START", "1");
        if let Some(prefix) = prefix {
            command.env("WINEPREFIX", prefix);
        }
        let terminal = Terminal::spawn(&command, SIZE.0, SIZE.1).without_sequences();
        listener.set_nonblocking(true).expect("a socket");
        let (stream, _) = wait::until("the program is at its console", || listener.accept().ok());
        stream.set_nonblocking(false).expect("a socket");
        stream.set_read_timeout(Some(wait::DEADLINE)).expect("a socket");
        let mut console = Self {
            terminal,
            line: BufReader::new(stream),
            before: Modes([0; 4]),
        };
        console.say("go");
        let ("started", _, before) = console.hear() else {
            panic!("the program was not started");
        };
        console.before = before;
        console.say("run");
        console
    }

    fn say(&mut self, text: &str) {
        let stream = self.line.get_mut();
        stream
            .write_all(format!("{text}\n").as_bytes())
            .expect("somebody is at the console");
    }

    /// The answer: its word, its number, the modes.
    fn hear(&mut self) -> (&'static str, u32, Modes) {
        let mut text = String::new();
        self.line.read_line(&mut text).expect("an answer");
        let words: Vec<&str> = text.split_whitespace().collect();
        let known = ["started", "done", "ended", "failed"];
        let word = known.into_iter().find(|known| words.first() == Some(known));
        let numbers: Vec<u32> = words
            .iter()
            .skip(1)
            .filter_map(|word| word.parse().ok())
            .collect();
        match (word, &numbers[..]) {
            (Some(word), [number, modes @ ..]) if modes.len() == 4 => {
                (word, *number, Modes([modes[0], modes[1], modes[2], modes[3]]))
            }
            _ => panic!("the answer {text:?}"),
        }
    }

    fn tell(&mut self, order: &str) -> Modes {
        self.say(order);
        let ("done", _, modes) = self.hear() else {
            panic!("the program ended");
        };
        modes
    }

    /// The modes of this moment.
    ///
    /// # Panics
    /// The program has ended.
    #[must_use]
    pub fn modes(&mut self) -> Modes {
        self.tell("modes")
    }

    /// Presses Ctrl-C.
    ///
    /// # Panics
    /// The program has ended.
    pub fn interrupt(&mut self) {
        self.tell("key 3");
    }

    /// Sends Ctrl-Break, which a console tells to its programs even when keys are raw.
    ///
    /// # Panics
    /// The program has ended.
    pub fn send_break(&mut self) {
        self.say("break");
    }

    /// Gives the console another size.
    ///
    /// # Panics
    /// The program has ended.
    pub fn resize(&mut self, columns: u16, lines: u16) {
        self.tell(&format!("resize {columns} {lines}"));
    }

    /// Waits for the end of the program; its exit code, if the console is then as it was before it.
    ///
    /// # Panics
    /// The console is not as it was.
    #[must_use]
    pub fn exit_code(mut self) -> i32 {
        loop {
            if let ("ended", code, after) = self.hear() {
                assert_eq!(after, self.before, "the modes of the console");
                return code.cast_signed();
            }
        }
    }
}
