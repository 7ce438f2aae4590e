//! A pseudo terminal with a program on it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::wait;

/// The side of the terminal where a person sits.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    output: Receiver<Vec<u8>>,
    seen: String,
    /// Takes sequences out of what is shown.
    plain: Option<Plain>,
    /// The program.
    pub child: Child,
}

impl Terminal {
    /// Runs `command` on a new terminal of the given size, as a session leader with it as controlling terminal.
    ///
    /// # Panics
    /// The system has no terminal to give.
    #[must_use]
    pub fn spawn(command: &Command, rows: u16, columns: u16) -> Self {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        rustix::pty::grantpt(&master).expect("our terminal");
        rustix::pty::unlockpt(&master).expect("our terminal");
        let name = rustix::pty::ptsname(&master, Vec::new()).expect("it has a name");
        let name = name.into_string().expect("an ASCII name");
        resize(&master, rows, columns);
        let slave = || {
            Stdio::from(
                File::options()
                    .read(true)
                    .write(true)
                    .open(&name)
                    .expect("the other side"),
            )
        };
        let mut on_terminal = Command::new("setsid");
        on_terminal
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear();
        on_terminal
            .envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))))
            .env("TERM", "xterm");
        let child = on_terminal
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .expect("setsid runs");
        drop(on_terminal);
        let master = File::from(master);
        let mut reader = master.try_clone().expect("a second handle");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Reading a terminal whose program ended is an error.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            master,
            output,
            seen: String::new(),
            plain: None,
            child,
        }
    }

    /// The same terminal, from now on without escape sequences in what is shown: a console of Wine makes some between any two characters.
    #[must_use]
    pub fn without_sequences(mut self) -> Self {
        self.plain = Some(Plain::default());
        self
    }

    /// Types.
    ///
    /// # Panics
    /// The terminal is gone.
    pub fn type_in(&mut self, text: &str) {
        self.master
            .write_all(text.as_bytes())
            .expect("the terminal takes it");
    }

    /// Changes the size.
    ///
    /// # Panics
    /// The terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) {
        let fd: OwnedFd = self.master.try_clone().expect("a second handle").into();
        resize(&fd, rows, columns);
    }

    /// Waits until `text` was shown, and forgets everything up to it.
    ///
    /// # Panics
    /// It is not shown in time.
    pub fn expect(&mut self, text: &str) {
        loop {
            if let Some(place) = self.seen.find(text) {
                self.seen.drain(..place + text.len());
                return;
            }
            match self.output.recv_timeout(wait::DEADLINE) {
                Ok(bytes) => {
                    let text = String::from_utf8_lossy(&bytes);
                    match &mut self.plain {
                        Some(plain) => text.chars().for_each(|c| plain.push(c, &mut self.seen)),
                        None => self.seen.push_str(&text),
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("{text:?} was not shown; shown: {:?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("the program ended; shown: {:?}", self.seen),
            }
        }
    }

    /// Waits for the end of the program and gives its exit code.
    ///
    /// # Panics
    /// The program was ended by a signal.
    #[must_use]
    pub fn exit_code(mut self) -> i32 {
        self.child
            .wait()
            .expect("a child ends")
            .code()
            .expect("ended by itself")
    }
}

/// Leaves escape sequences out, but for steps to the right, which are blanks.
#[derive(Debug, Default)]
struct Plain {
    /// The beginning of a sequence.
    sequence: String,
}

impl Plain {
    fn push(&mut self, c: char, out: &mut String) {
        if c == '\x1b' {
            self.sequence = c.to_string();
        } else if self.sequence.is_empty() {
            out.push(c);
        } else if self.sequence.len() == 1 && c != '[' {
            self.sequence.clear();
        } else if self.sequence.len() > 1 && c.is_ascii_alphabetic() {
            if c == 'C' {
                let steps = self.sequence[2..].parse().unwrap_or(1);
                out.push_str(&" ".repeat(steps));
            }
            self.sequence.clear();
        } else {
            self.sequence.push(c);
        }
    }
}

fn resize(fd: &OwnedFd, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(fd, size).expect("a terminal has a size");
}
