//! Windows command lines: quoting arguments so that `CommandLineToArgvW` reads them back, and reading them.
//!
//! A Windows process gets one command line, an image has a list of arguments: whoever starts one from the other quotes
//! here ([`crate::ProcessParameters`] carries the result). Programs of the C runtime read it with these rules: blanks
//! separate, quotes group, back-slashes count only before a quote. The first argument, the program, is read by simpler
//! rules and cannot contain a quote.
//!
//! Not here: the rules of `cmd.exe`, which reads its command line in its own way; pass it as it stands.

/// One command line of these arguments.
///
/// An argument is quoted only when it has to be, so that programs with rules of their own see plain words.
pub fn join<T: AsRef<str>>(arguments: &[T]) -> String {
    let mut line = String::new();
    for argument in arguments {
        if !line.is_empty() {
            line.push(' ');
        }
        quote_into(&mut line, argument.as_ref());
    }
    line
}

/// One argument, quoted if it has to be.
pub fn quote(argument: &str) -> String {
    let mut line = String::new();
    quote_into(&mut line, argument);
    line
}

fn quote_into(line: &mut String, argument: &str) {
    if !argument.is_empty() && !argument.contains([' ', '\t', '\n', '\u{b}', '"']) {
        line.push_str(argument);
        return;
    }
    line.push('"');
    let mut backslashes = 0;
    for c in argument.chars() {
        match c {
            '\\' => backslashes += 1,
            '"' => {
                // Those before a quote count double, and the quote needs one more.
                line.extend(std::iter::repeat_n('\\', backslashes + 1));
                backslashes = 0;
            }
            _ => backslashes = 0,
        }
        line.push(c);
    }
    // Those at the end stand before the closing quote.
    line.extend(std::iter::repeat_n('\\', backslashes));
    line.push('"');
}

/// The arguments of a command line, by the rules of `CommandLineToArgvW`.
pub fn split(line: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut rest = line.chars().peekable();
    let Some(first) = rest.peek() else {
        return arguments;
    };
    // The program: up to the next quote if it begins with one, else up to the next blank; back-slashes mean nothing.
    let mut program = String::new();
    if *first == '"' {
        rest.next();
        program.extend(rest.by_ref().take_while(|c| *c != '"'));
    } else {
        while let Some(c) = rest.next_if(|c| !is_blank(*c)) {
            program.push(c);
        }
    }
    arguments.push(program);
    loop {
        while rest.next_if(|c| is_blank(*c)).is_some() {}
        if rest.peek().is_none() {
            return arguments;
        }
        arguments.push(argument(&mut rest));
    }
}

/// Reads one argument after the program.
fn argument(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut text = String::new();
    let mut quoted = false;
    while let Some(c) = rest.peek().copied() {
        if is_blank(c) && !quoted {
            break;
        }
        rest.next();
        match c {
            '\\' => {
                let mut count = 1;
                while rest.next_if_eq(&'\\').is_some() {
                    count += 1;
                }
                if rest.peek() == Some(&'"') {
                    text.extend(std::iter::repeat_n('\\', count / 2));
                    if count % 2 == 1 {
                        rest.next();
                        text.push('"');
                    }
                } else {
                    text.extend(std::iter::repeat_n('\\', count));
                }
            }
            // Two quotes inside quotes are one quote.
            '"' if quoted && rest.next_if_eq(&'"').is_some() => text.push('"'),
            '"' => quoted = !quoted,
            _ => text.push(c),
        }
    }
    text
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_words_stay_plain() {
        assert_eq!(join(&["cmd", "/S", "/C", "dir"]), "cmd /S /C dir");
        assert_eq!(
            join(&[r"C:\app\run.exe", r"C:\data\"]),
            r"C:\app\run.exe C:\data\"
        );
    }

    #[test]
    fn blanks_quotes_and_back_slashes_before_quotes_are_quoted() {
        assert_eq!(quote(""), r#""""#);
        assert_eq!(quote("a b"), r#""a b""#);
        assert_eq!(quote(r#"say "hi""#), r#""say \"hi\"""#);
        assert_eq!(quote(r"C:\my data\"), r#""C:\my data\\""#);
        assert_eq!(quote(r#"a\"b"#), r#""a\\\"b""#);
        assert_eq!(quote(r"a\b c"), r#""a\b c""#);
    }

    #[test]
    fn the_published_examples_are_read_as_windows_reads_them() {
        // https://learn.microsoft.com/cpp/c-language/parsing-c-command-line-arguments
        for (line, expected) in [
            (r#"p "a b c" d e"#, vec!["p", "a b c", "d", "e"]),
            (r#"p "ab\"c" "\\" d"#, vec!["p", r#"ab"c"#, r"\", "d"]),
            (r#"p a\\\b d"e f"g h"#, vec!["p", r"a\\\b", "de fg", "h"]),
            (r#"p a\\\"b c d"#, vec!["p", r#"a\"b"#, "c", "d"]),
            (r#"p a\\\\"b c" d e"#, vec!["p", r"a\\b c", "d", "e"]),
            (
                r#""C:\Program Files\x.exe" 1"#,
                vec![r"C:\Program Files\x.exe", "1"],
            ),
            ("p", vec!["p"]),
            ("p  ", vec!["p"]),
        ] {
            assert_eq!(split(line), expected, "{line}");
        }
        assert!(split("").is_empty());
    }

    proptest! {
        #[test]
        fn arguments_survive_the_round_trip(
            program in r#"[^"\x00]{1,20}"#,
            arguments in prop::collection::vec(r#"([ \t"\\]|[^\x00]){0,20}"#, 0..6),
        ) {
            // A program that ends in a back-slash has no spelling that needs quotes.
            prop_assume!(!program.ends_with('\\'));
            let all: Vec<String> = std::iter::once(program).chain(arguments).collect();
            prop_assert_eq!(split(&join(&all)), all);
        }

        #[test]
        fn any_line_can_be_read(line in ".{0,60}") {
            split(&line);
        }
    }
}
