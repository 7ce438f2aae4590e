//! Text of others on the user's terminal.

use std::fmt::Write as _;

/// The same text with everything that could steer a terminal or reorder the line made visible. Line feeds and tabs stay.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => escaped.push(letter),
            '\0'..='\x1f' | '\x7f' => {
                let _ = write!(escaped, "\\x{:02x}", u32::from(letter));
            }
            // C1 controls, and what changes the direction of text.
            '\u{80}'..='\u{9f}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(letter));
            }
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// [`escape`] for a cell of a table, which has one line.
pub(super) fn cell(text: &str) -> String {
    escape(text).replace('\n', "\\n").replace('\t', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_become_visible() {
        assert_eq!(
            escape("a\x1b[31mred\x07\u{9b}\u{202e}\n\tgrün"),
            "a\\x1b[31mred\\x07\\u{9b}\\u{202e}\n\tgrün"
        );
        assert_eq!(cell("a\nb\tc"), "a\\nb c");
    }
}
