//! Consoles of processes: real pseudo consoles, whose other side are the pipes that the caller gets.
//!
//! A program of the tests, `tests/wine/terminal.c`, makes the console, starts the process at it, and changes its size when it is
//! told; [`Console`] is the line to it. It runs in the job of the process's system.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::windows::io::{FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Mutex;

use windows_sys::Win32::System::Threading::{
    DETACHED_PROCESS, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE,
};

/// Where `scripts/lib/wine.sh` puts it.
const PROGRAM: &str = r"C:\windows\system32\ctr-like-terminal.exe";
/// Lines and columns of a console whose document names none.
const SIZE: (u16, u16) = (25, 80);

/// A console that is about to be made.
pub(crate) struct Plan(TcpListener);

impl Plan {
    /// The command that makes a console and starts the process at it. `size` is lines, then columns.
    pub(crate) fn new(program: &Path, arguments: &str, size: &[u16]) -> io::Result<(Self, Command)> {
        let (lines, columns) = match size {
            [lines, columns] => (*lines, *columns),
            _ => SIZE,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let mut command = Command::new(PROGRAM);
        command
            .raw_arg(format!(
                "{port} new {columns} {lines} \"{}\" {arguments}",
                program.display()
            ))
            .creation_flags(DETACHED_PROCESS);
        Ok((Self(listener), command))
    }

    /// Waits for the process, whose number and handle come with the console. `child` is what [`Self::new`]'s command started.
    pub(crate) fn carry_out(self, mut child: Child) -> io::Result<(Console, u32, OwnedHandle)> {
        let address = self.0.local_addr()?;
        // A program that ends without a word is not waited for.
        std::thread::spawn(move || {
            drop(child.wait());
            drop(TcpStream::connect(address));
        });
        // It is in the job by now; what it starts will be, too.
        drop(Line::accept(&self.0)?);
        let mut line = Line::accept(&self.0)?;
        let said = line.hear()?;
        let mut words = said.split(' ');
        let (word, number) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let number: u32 = number.parse().map_err(io::Error::other)?;
        if word != "started" {
            return Err(io::Error::from_raw_os_error(number.cast_signed()));
        }
        let access = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE | PROCESS_TERMINATE;
        // SAFETY: takes plain values; the answer is checked before it is used.
        let handle = unsafe { OpenProcess(access, 0, number) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and ours alone.
        let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
        line.say("run")?;
        Ok((Console(Mutex::new(line)), number, handle))
    }
}

/// A console with a process at it.
pub(crate) struct Console(Mutex<Line>);

impl Console {
    /// Gives it another size.
    pub(crate) fn resize(&self, lines: u16, columns: u16) -> io::Result<()> {
        self.tell(&format!("resize {columns} {lines}"))
    }

    /// Types Ctrl-C, whose byte consoles of Wine take for the end of their input.
    pub(crate) fn interrupt(&self) -> io::Result<()> {
        self.tell("key 3")
    }

    fn tell(&self, order: &str) -> io::Result<()> {
        let mut line = self.0.lock().unwrap();
        line.say(order)?;
        line.hear().map(drop)
    }
}

struct Line(BufReader<TcpStream>);

impl Line {
    fn accept(listener: &TcpListener) -> io::Result<Self> {
        let (stream, _): (_, SocketAddr) = listener.accept()?;
        let mut line = Self(BufReader::new(stream));
        line.say("go")?;
        Ok(line)
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        self.0.get_mut().write_all(format!("{text}\n").as_bytes())
    }

    fn hear(&mut self) -> io::Result<String> {
        let mut text = String::new();
        if self.0.read_line(&mut text)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(text.trim_end().to_owned())
    }
}
