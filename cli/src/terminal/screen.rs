//! A terminal that is written anew from its top, again and again.

use std::io::{self, IsTerminal, Write};

use super::{size, system};
use crate::render::escape;

/// Standard output, when it is a terminal.
#[derive(Debug)]
pub(crate) struct Screen {
    /// Nothing was shown yet.
    fresh: bool,
    _sequences: system::Sequences,
}

impl Screen {
    /// `None` when standard output is no terminal, or one that cannot be written anew.
    pub(crate) fn open() -> Option<Self> {
        if !io::stdout().is_terminal() {
            return None;
        }
        Some(Self {
            fresh: true,
            _sequences: system::Sequences::on_stdout().ok()?,
        })
    }

    /// Replaces what is shown. What has no room is left out, and said to be.
    pub(crate) fn show(&mut self, lines: &[String]) -> io::Result<()> {
        let height = size().map_or(usize::MAX, |size| usize::from(size.height));
        let text = frame(lines, height, std::mem::take(&mut self.fresh));
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }
}

/// Written at once, so that nothing flickers: each line is overwritten and then cleared to its end.
fn frame(lines: &[String], height: usize, clear: bool) -> String {
    let mut text = String::new();
    if clear {
        text.push_str("\x1b[2J");
    }
    text.push_str("\x1b[H");
    let mut put = |line: &str| {
        text.push_str(&escape(line));
        text.push_str("\x1b[K\n");
    };
    // The cursor waits in the last line.
    let room = height.saturating_sub(1).max(2);
    if lines.len() <= room {
        lines.iter().for_each(|line| put(line));
    } else {
        let shown = room - 1;
        lines.iter().take(shown).for_each(|line| put(line));
        put(&format!("({} more)", lines.len() - shown));
    }
    text.push_str("\x1b[J");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(count: usize, height: usize) -> String {
        let lines: Vec<String> = (0..count).map(|line| format!("l{line}\x07")).collect();
        frame(&lines, height, false)
            .replace("\x1b[K\n", "|")
            .replace('\x1b', "^")
    }

    #[test]
    fn lines_take_the_place_of_those_before_and_have_room() {
        assert_eq!(shown(2, 5), "^[Hl0\\x07|l1\\x07|^[J");
        assert_eq!(shown(4, 5), "^[Hl0\\x07|l1\\x07|l2\\x07|l3\\x07|^[J");
        assert_eq!(shown(6, 5), "^[Hl0\\x07|l1\\x07|l2\\x07|(3 more)|^[J");
        assert_eq!(shown(3, 0), "^[Hl0\\x07|(2 more)|^[J");
        assert!(frame(&[], 5, true).starts_with("\x1b[2J\x1b[H"));
    }
}
