//! The process list, one line each: id, times in user mode and in the kernel, time of creation, memory committed, private and
//! shared, and the name. This program is not part of it.

use std::io::{self, Write};
use std::process::ExitCode;

pub(crate) fn list() -> ExitCode {
    let own = std::process::id();
    let written = win32::processes::all().and_then(|processes| {
        let mut out = io::stdout().lock();
        for process in processes.iter().filter(|process| process.pid != own) {
            let [private, shared] = [process.working_set.saturating_sub(process.shared), process.shared];
            writeln!(
                out,
                "{} {} {} {} {} {private} {shared} {}",
                process.pid, process.user, process.kernel, process.created, process.commit, process.name
            )?;
        }
        out.flush()
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
