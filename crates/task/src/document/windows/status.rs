//! Names of the exit codes with which Windows itself ends a process.
//!
//! They are NTSTATUS values; the list has those that a container's program is seen to end with. From the published list of
//! NTSTATUS values; the last two are those of the runtimes that raise them.

const NAMES: &[(u32, &str, &str)] = &[
    (
        0x4001_0004,
        "DBG_TERMINATE_PROCESS",
        "it was ended by another process",
    ),
    (0x8000_0003, "STATUS_BREAKPOINT", "it reached a breakpoint"),
    (
        0xC000_0005,
        "STATUS_ACCESS_VIOLATION",
        "it used memory that is not its own",
    ),
    (0xC000_0017, "STATUS_NO_MEMORY", "there was not enough memory"),
    (
        0xC000_001D,
        "STATUS_ILLEGAL_INSTRUCTION",
        "the processor does not know an instruction",
    ),
    (0xC000_0022, "STATUS_ACCESS_DENIED", "access was denied"),
    (
        0xC000_007B,
        "STATUS_INVALID_IMAGE_FORMAT",
        "a file is no program for this processor",
    ),
    (0xC000_0094, "STATUS_INTEGER_DIVIDE_BY_ZERO", "it divided by zero"),
    (0xC000_00FD, "STATUS_STACK_OVERFLOW", "its stack was full"),
    (
        0xC000_0135,
        "STATUS_DLL_NOT_FOUND",
        "a DLL that it needs is missing",
    ),
    (
        0xC000_0138,
        "STATUS_ORDINAL_NOT_FOUND",
        "a DLL lacks a function that it needs",
    ),
    (
        0xC000_0139,
        "STATUS_ENTRYPOINT_NOT_FOUND",
        "a DLL lacks a function that it needs",
    ),
    (0xC000_013A, "STATUS_CONTROL_C_EXIT", "it was interrupted"),
    (
        0xC000_0142,
        "STATUS_DLL_INIT_FAILED",
        "a DLL could not be initialised",
    ),
    (0xC000_0374, "STATUS_HEAP_CORRUPTION", "it damaged its memory"),
    (
        0xC000_0409,
        "STATUS_STACK_BUFFER_OVERRUN",
        "it stopped itself at once",
    ),
    (
        0xC000_041D,
        "STATUS_FATAL_USER_CALLBACK_EXCEPTION",
        "a callback failed",
    ),
    (0xE043_4352, "an exception of .NET", "nobody caught it"),
    (0xE06D_7363, "an exception of C++", "nobody caught it"),
];

/// What an exit code says, if it is one of those.
#[must_use]
pub fn describe(code: u32) -> Option<String> {
    let (_, name, meaning) = NAMES.iter().find(|(known, ..)| *known == code)?;
    Some(format!("exit code 0x{code:08X} ({name}): {meaning}"))
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
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
