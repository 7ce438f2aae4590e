//! How the daemon and its shims reach each other, for both programs.
//!
//! On Windows through pipes whose ends `win32` makes: who may do something to a shim may do it to the containers in it, so it is
//! who may do everything to the daemon.

use task::shim::Sockets;

/// The sockets of this system.
#[cfg(unix)]
pub(crate) fn sockets() -> Sockets {
    Sockets
}

/// The pipes of this system.
#[cfg(windows)]
pub(crate) fn sockets() -> Sockets {
    Sockets::new(pipes::Own)
}

#[cfg(windows)]
mod pipes {
    use std::io;

    use task::shim::{Pipes, ShimProcess};
    use tokio::net::windows::named_pipe::{NamedPipeClient, NamedPipeServer};
    use win32::PipeSecurity;
    use win32::process::Held;

    /// For SYSTEM, Administrators and the user of this process.
    pub(super) struct Own;

    impl Pipes for Own {
        fn instance(&self, name: &str, first: bool) -> io::Result<NamedPipeServer> {
            win32::pipe_server(name, &PipeSecurity::for_this_process()?, first)
        }

        fn client(&self, name: &str) -> io::Result<NamedPipeClient> {
            win32::pipe_client(name)
        }

        fn process(&self, pid: u32) -> io::Result<Option<Box<dyn ShimProcess>>> {
            let held = Held::open(pid)?;
            Ok(held.map(|held| Box::new(Shim(held)) as Box<dyn ShimProcess>))
        }
    }

    struct Shim(Held);

    impl ShimProcess for Shim {
        fn created(&self) -> io::Result<u64> {
            self.0.created()
        }

        fn has_ended(&self) -> bool {
            self.0.has_ended()
        }

        fn kill(&self) -> io::Result<()> {
            self.0.kill()
        }
    }
}
