//! What virtual machines wrote to their consoles, as their back ends keep it in [`crate::SandboxSpec::consoles`].
//!
//! The guest wrote it, so nothing of it is believed: what controls a terminal is left out, and errors quote few lines.

use std::path::{Path, PathBuf};

/// Lines of a console in an error.
const QUOTED: usize = 12;

/// The whole console of a machine, oldest line first; `None` when there is none. The file before the last one, where there is
/// one, comes first. Blocks on the file system.
#[must_use]
pub fn read(folder: &Path, id: &str) -> Option<Vec<String>> {
    let file = |ending: &str| -> PathBuf { folder.join(format!("{id}{ending}")) };
    let mut bytes = std::fs::read(file(".log.1")).unwrap_or_default();
    bytes.extend(std::fs::read(file(".log")).ok()?);
    Some(String::from_utf8_lossy(&bytes).lines().map(plain).collect())
}

/// The last lines of a console, as an error quotes them, with the kernel's last words if they came before; empty when there are none.
pub(crate) fn quoted(folder: &Path, id: &str) -> String {
    let lines = read(folder, id).unwrap_or_default();
    let lines: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .filter(|line| !line.trim().is_empty())
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    let last = &lines[lines.len().saturating_sub(QUOTED)..];
    // Behind it comes where in the kernel that was.
    let panic = last_words(folder, id).filter(|panic| !last.iter().any(|line| line.contains(panic)));
    let panic = panic.map(|panic| format!("{panic}\n...\n")).unwrap_or_default();
    format!("\nits console ends with:\n{panic}{}", last.join("\n"))
}

/// The line in which a kernel says why it cannot go on.
pub(crate) fn last_words(folder: &Path, id: &str) -> Option<String> {
    let lines = read(folder, id)?;
    lines.into_iter().rev().find_map(|line| {
        let at = line
            .find("Kernel panic")
            .filter(|_| !line.contains("end Kernel panic"))?;
        Some(line[at..].to_owned())
    })
}

/// A line without escape sequences and control characters.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            // A control sequence ends with a letter or one of a few signs; other escapes have one character.
            '\u{1b}' if rest.next_if_eq(&'[').is_some() => {
                rest.find(|character| matches!(character, '@'..='~'));
            }
            '\u{1b}' => {
                rest.next();
            }
            '\t' => text.push('\t'),
            other if other.is_control() => {}
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    #[test]
    fn what_a_guest_writes_does_not_reach_the_terminal_as_commands() {
        assert_eq!(
            plain("\u{1b}c\u{1b}[?7l\u{1b}[2J\u{1b}[0mSea\tBIOS\u{7}\r"),
            "Sea\tBIOS"
        );
        assert_eq!(plain("\u{1b}[31"), "");
        assert_eq!(plain("\u{9b}2Jä\u{1b}"), "2Jä");
    }

    #[test]
    fn both_files_are_read_and_the_end_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let numbered: Vec<String> = (0..20).map(|number| format!("line {number}")).collect();
        std::fs::write(folder.path().join("vm.log.1"), "first\n").unwrap();
        std::fs::write(folder.path().join("vm.log"), numbered.join("\n\n")).unwrap();
        assert_eq!(read(folder.path(), "vm").unwrap()[0], "first");
        let text = quoted(folder.path(), "vm");
        assert!(
            text.ends_with("line 18\nline 19") && text.contains("line 8\n") && !text.contains("line 7\n")
        );
        assert_eq!(
            (read(folder.path(), "other"), quoted(folder.path(), "other")),
            (None, String::new())
        );
    }

    #[test]
    fn a_panic_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[ 1.0] Kernel panic - not syncing: no init\n[ 1.1] CPU: 0\n[ 1.2] ---[ end Kernel panic - not syncing: no init ]---\n";
        std::fs::write(folder.path().join("vm.log"), text).unwrap();
        assert_eq!(
            last_words(folder.path(), "vm").unwrap(),
            "Kernel panic - not syncing: no init"
        );
        assert_eq!(last_words(folder.path(), "other"), None);
        assert_eq!(
            quoted(folder.path(), "vm").matches("Kernel panic - not").count(),
            2
        );
        let trace = text.to_owned() + &"[ 1.2]  somewhere\n".repeat(QUOTED);
        std::fs::write(folder.path().join("vm.log"), trace).unwrap();
        let quoted = quoted(folder.path(), "vm");
        assert!(
            quoted.contains("with:\nKernel panic - not syncing: no init\n...\n[ 1.2]"),
            "{quoted}"
        );
    }
}
