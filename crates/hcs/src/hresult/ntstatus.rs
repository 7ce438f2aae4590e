//! Codes with which Windows itself ends a process: NTSTATUS values.
//!
//! The list has those that a container's program is seen to end with. From the published list of NTSTATUS values; the last two are
//! those of the runtimes that raise them.

use super::{Explanation, row};

pub(super) const CODES: &[Explanation] = &[
    row(
        0x4001_0004,
        "DBG_TERMINATE_PROCESS",
        "it was ended by another process",
        "",
    ),
    row(0x8000_0003, "STATUS_BREAKPOINT", "it reached a breakpoint", ""),
    row(
        0xC000_0005,
        "STATUS_ACCESS_VIOLATION",
        "it used memory that is not its own",
        "",
    ),
    row(
        0xC000_0017,
        "STATUS_NO_MEMORY",
        "there was not enough memory",
        "give the container more memory with --memory",
    ),
    row(
        0xC000_001D,
        "STATUS_ILLEGAL_INSTRUCTION",
        "the processor does not know an instruction",
        "",
    ),
    row(
        0xC000_0022,
        "STATUS_ACCESS_DENIED",
        "access was denied",
        "run as another account with --user",
    ),
    row(
        0xC000_007B,
        "STATUS_INVALID_IMAGE_FORMAT",
        "a file is no program for this processor",
        "use an image for this processor",
    ),
    row(
        0xC000_0094,
        "STATUS_INTEGER_DIVIDE_BY_ZERO",
        "it divided by zero",
        "",
    ),
    row(0xC000_00FD, "STATUS_STACK_OVERFLOW", "its stack was full", ""),
    row(
        0xC000_0135,
        "STATUS_DLL_NOT_FOUND",
        "a DLL that it needs is missing",
        "use an image that has the DLL, or copy it next to the program",
    ),
    row(
        0xC000_0138,
        "STATUS_ORDINAL_NOT_FOUND",
        "a DLL lacks a function that it needs",
        "",
    ),
    row(
        0xC000_0139,
        "STATUS_ENTRYPOINT_NOT_FOUND",
        "a DLL lacks a function that it needs",
        "",
    ),
    row(0xC000_013A, "STATUS_CONTROL_C_EXIT", "it was interrupted", ""),
    row(
        0xC000_0142,
        "STATUS_DLL_INIT_FAILED",
        "a DLL could not be initialised",
        "",
    ),
    row(0xC000_0374, "STATUS_HEAP_CORRUPTION", "it damaged its memory", ""),
    row(
        0xC000_0409,
        "STATUS_STACK_BUFFER_OVERRUN",
        "it stopped itself at once",
        "",
    ),
    row(
        0xC000_041D,
        "STATUS_FATAL_USER_CALLBACK_EXCEPTION",
        "a callback failed",
        "",
    ),
    row(0xE043_4352, "an exception of .NET", "nobody caught it", ""),
    row(0xE06D_7363, "an exception of C++", "nobody caught it", ""),
];
