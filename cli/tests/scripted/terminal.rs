//! `run -it` on a pseudo terminal: raw keys, sizes, detach keys, and the terminal restored at the end.
//!
//! `setsid` (util-linux) makes the pseudo terminal the controlling one, so that the kernel tells of new sizes.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::support::{House, house};

/// The user's side of a terminal in which the program runs.
struct Screen {
    user: tokio::fs::File,
    terminal: OwnedFd,
    child: Child,
    shown: String,
}

impl Screen {
    fn new(house: &House, arguments: &[&str]) -> Self {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let name = ptsname(&user, Vec::new()).unwrap();
        let terminal = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        let size = |user: &OwnedFd, height, width| {
            tcsetwinsize(
                user,
                Winsize {
                    ws_row: height,
                    ws_col: width,
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                },
            )
            .unwrap();
        };
        size(&user, 30, 100);
        let inner = house.command(arguments);
        let mut command = Command::new("setsid");
        command
            .args(["--ctty", "--wait"])
            .arg(inner.as_std().get_program())
            .args(inner.as_std().get_args());
        command.envs(
            inner
                .as_std()
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let stream = || terminal.try_clone().unwrap();
        let child = command
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            user: tokio::fs::File::from_std(File::from(user)),
            terminal: terminal.into(),
            child,
            shown: String::new(),
        }
    }

    async fn shows(&mut self, wanted: &str) {
        while !self.shown.contains(wanted) {
            let mut bytes = [0; 1024];
            let count = self.user.read(&mut bytes).await.unwrap();
            assert!(count > 0, "the screen ended with {:?}", self.shown);
            self.shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }

    async fn types(&mut self, keys: &[u8]) {
        self.user.write_all(keys).await.unwrap();
        self.user.flush().await.unwrap();
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal)
            .unwrap()
            .local_modes
            .contains(LocalModes::ICANON)
    }

    async fn exit_code(&mut self) -> i32 {
        self.child.wait().await.unwrap().code().unwrap()
    }
}

#[tokio::test]
async fn keys_arrive_raw_and_the_terminal_is_restored() {
    let house = house().await;
    let mut screen = Screen::new(&house, &["run", "-it", "box", "keys"]);
    screen.shows("ready").await;
    assert!(screen.is_raw());
    screen.types(b"\x03").await;
    screen.shows("[03]").await;
    screen.types(b"!").await;
    assert_eq!(screen.exit_code().await, 9);
    assert!(!screen.is_raw());
}

#[tokio::test]
async fn detach_keys_leave_the_container_alone() {
    let house = house().await;
    let mut screen = Screen::new(&house, &["run", "-it", "box", "keys"]);
    screen.shows("ready").await;
    screen.types(b"a").await;
    screen.shows("[61]").await;
    screen.types(b"\x10\x11").await;
    assert_eq!(screen.exit_code().await, 0);
    assert!(!screen.is_raw());
    assert!(!house.calls().iter().any(|call| call.starts_with("kill")));
}

#[tokio::test]
async fn size_is_told_at_first_and_whenever_it_changes() {
    let house = house().await;
    let mut screen = Screen::new(&house, &["run", "-it", "box", "keys"]);
    screen.shows("ready").await;
    house.script.resized.notified().await;
    assert!(house.calls().contains(&"resize 100x30".to_owned()));
    let size = Winsize {
        ws_row: 40,
        ws_col: 120,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&screen.terminal, size).unwrap();
    house.script.resized.notified().await;
    assert!(
        house.calls().contains(&"resize 120x40".to_owned()),
        "{:?}",
        house.calls()
    );
    screen.types(b"!").await;
    assert_eq!(screen.exit_code().await, 9);
}

#[tokio::test]
async fn terminal_is_asked_for_where_there_is_none() {
    let house = house().await;
    let (code, _, err) = house.run(&["run", "-it", "box", "keys"], b"").await;
    assert!(
        code == 125 && err.contains("the input device is not a TTY"),
        "{code} {err}"
    );
    assert!(house.calls().is_empty());
}

#[tokio::test]
async fn termination_restores_the_terminal() {
    let house = house().await;
    let mut screen = Screen::new(&house, &["run", "-it", "box", "keys"]);
    screen.shows("ready").await;
    // `setsid` became the program, or waits for it: the foreground group of the terminal is the program's.
    let group = rustix::termios::tcgetpgrp(&screen.user).unwrap();
    rustix::process::kill_process_group(group, rustix::process::Signal::TERM).unwrap();
    assert_eq!(screen.exit_code().await, 143);
    assert!(!screen.is_raw());
}
