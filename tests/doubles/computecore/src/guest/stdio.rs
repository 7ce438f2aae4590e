//! The streams of a process: between its pipes and the connections to the host.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::windows::io::OwnedHandle;
use std::sync::Arc;

use crate::pipes;
use crate::processes::Process;

/// Carries what the host says to the process; the end too.
pub(super) fn input(mut host: TcpStream, pipe: OwnedHandle, process: Arc<Process>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count) = host.read(&mut buffer) {
            if count == 0 || pipes::write_all(&pipe, &buffer[..count]).is_err() {
                break;
            }
        }
        process.end_input();
    });
}

/// Carries what the process says to the host, and ends with its last writer. Then the host hangs up.
pub(super) fn output(mut host: TcpStream, pipe: OwnedHandle) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut listens = true;
        while let Ok(count) = pipes::read(&pipe, &mut buffer) {
            if count == 0 {
                break;
            }
            listens = listens && host.write_all(&buffer[..count]).is_ok();
        }
        if host.shutdown(Shutdown::Write).is_ok() {
            // It says nothing any more; this waits until it has heard all.
            drop(host.read(&mut buffer));
        }
    });
}
