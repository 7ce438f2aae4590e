//! What the end of QEMU means for the machine that was in it.

use super::process::Exit;
use super::qmp::Outcome;
use crate::launcher::{Ended, How};

/// What the end of QEMU means for the machine.
pub(super) fn end_of(exit: Exit, outcome: &Outcome) -> Ended {
    use std::os::unix::process::ExitStatusExt;
    let reason = outcome.shutdown();
    let reason = reason
        .as_ref()
        .and_then(|data| data["reason"].as_str())
        .unwrap_or_default();
    let how = match (reason, &exit.status) {
        ("guest-shutdown", _) => How::PoweredOff,
        ("guest-reset" | "guest-panic", _) => match panic_code(&exit.console) {
            Some(code) => How::Crashed(code),
            None => How::Reset,
        },
        (_, Ok(status)) => How::Worker(status.code().or(status.signal().map(|signal| 128 + signal))),
        (_, Err(_)) => How::Worker(None),
    };
    let mut console = exit.console;
    if !exit.messages.is_empty() {
        console.push_str("\nQEMU: ");
        console.push_str(&exit.messages);
    }
    Ended { how, console }
}

/// The code with which init ended when that was why the kernel panicked, else 1.
fn panic_code(console: &str) -> Option<i32> {
    let at = console.rfind("Kernel panic")?;
    let code = console[at..].split("exitcode=0x").nth(1).and_then(|text| {
        let digits: String = text.chars().take_while(char::is_ascii_hexdigit).collect();
        i32::from_str_radix(&digits, 16).ok()
    });
    // As wait(2) reports it: the exit code above the signal.
    Some(code.map_or(1, |status| (status >> 8).max(status & 0x7f)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_carries_the_code_of_init() {
        let console = "x\nKernel panic - not syncing: Attempted to kill init! exitcode=0x00000700\n---[ end";
        assert_eq!(panic_code(console), Some(7));
        assert_eq!(
            panic_code("Kernel panic - not syncing: VFS: Unable to mount root fs"),
            Some(1)
        );
        assert_eq!(panic_code("reboot: Restarting system"), None);
    }
}
