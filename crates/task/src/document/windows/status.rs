//! What the exit codes say with which Windows itself ends a process.

use hcs::HResult;

/// What an exit code says, if it is one of those.
#[must_use]
pub fn describe(code: u32) -> Option<String> {
    let known = HResult::from_bits(code).explain_exit()?;
    Some(format!(
        "exit code 0x{code:08X} ({}): {}",
        known.name, known.meaning
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_windows_have_names_and_those_of_programs_do_not() {
        assert_eq!(
            describe(0xC000_013A).unwrap(),
            "exit code 0xC000013A (STATUS_CONTROL_C_EXIT): it was interrupted"
        );
        assert!(
            [0, 1, 3, 255, 0xC000_FFFF]
                .into_iter()
                .all(|code| describe(code).is_none())
        );
    }
}
