//! The kernel command line of a virtual machine, as far as a sandbox needs it: the arguments of init.
//!
//! The kernel gives everything after ` -- ` to init, split at blanks outside double quotes.

use crate::failure::Failure;

/// The kernel's own limit on x86 (`COMMAND_LINE_SIZE`).
const LONGEST: usize = 2048;

/// The arguments after `--`; none when there is no `--`.
pub(crate) fn init_arguments(command_line: &str) -> Result<Vec<String>, Failure> {
    if command_line.len() >= LONGEST {
        return Err(Failure::invalid(format!(
            "VirtualMachine.Chipset.LinuxKernelDirect.KernelCmdLine has {} bytes, the kernel takes {}",
            command_line.len(),
            LONGEST - 1
        )));
    }
    if let Some(bad) = command_line.chars().find(|c| c.is_control() && *c != '\t') {
        return Err(Failure::invalid(format!(
            "VirtualMachine.Chipset.LinuxKernelDirect.KernelCmdLine contains the control character {bad:?}"
        )));
    }
    let words = words(command_line);
    let arguments = words
        .iter()
        .position(|word| word == "--")
        .map_or(&[][..], |at| &words[at + 1..]);
    Ok(arguments.to_vec())
}

/// Splits as the kernel does: a quote keeps blanks, and quotes around a whole word or a whole value are dropped.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in text.chars().chain([' ']) {
        if c == '"' {
            quoted = !quoted;
        }
        if c.is_ascii_whitespace() && !quoted {
            if !word.is_empty() {
                words.push(unquoted(&word));
            }
            word.clear();
        } else {
            word.push(c);
        }
    }
    // A quote that is never closed reaches to the end.
    if !word.trim().is_empty() {
        words.push(unquoted(word.trim_end()));
    }
    words
}

fn unquoted(word: &str) -> String {
    if let Some(inner) = word.strip_prefix('"') {
        return inner.strip_suffix('"').unwrap_or(inner).to_owned();
    }
    if let Some((name, value)) = word.split_once('=')
        && let Some(inner) = value.strip_prefix('"')
    {
        return format!("{name}={}", inner.strip_suffix('"').unwrap_or(inner));
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_gets_what_follows_the_dashes() {
        let line =
            " panic=-1 quiet pci=off nr_cpus=2 -- -e 1 /bin/vsockexec -e 109 /bin/gcs -v4 -log-format json";
        assert_eq!(
            init_arguments(line).unwrap(),
            [
                "-e",
                "1",
                "/bin/vsockexec",
                "-e",
                "109",
                "/bin/gcs",
                "-v4",
                "-log-format",
                "json"
            ]
        );
        assert!(init_arguments("panic=-1 quiet").unwrap().is_empty());
        assert!(init_arguments("panic=-1 --").unwrap().is_empty());
    }

    #[test]
    fn quotes_keep_blanks() {
        let line = r#"x -- -e 1 sh -c "/bin/gcs -v4 & exec sh" a="b c" "open end"#;
        assert_eq!(
            init_arguments(line).unwrap(),
            [
                "-e",
                "1",
                "sh",
                "-c",
                "/bin/gcs -v4 & exec sh",
                "a=b c",
                "open end"
            ]
        );
    }

    #[test]
    fn what_the_kernel_would_cut_or_misread_is_refused() {
        assert!(init_arguments(&"x".repeat(LONGEST)).is_err());
        assert!(init_arguments("a\nb").is_err());
        assert!(init_arguments("a\0b").is_err());
    }
}
