//! The virtual machines of the computecore double, which runs under Wine and cannot run any.
//!
//! `tests::machines` starts it with a directory, the guest agent and what machines are to be, `sandbox` or `qemu`; it writes the
//! address at which it listens to standard output, and ends with its standard input. Each connection is one machine of
//! `emulator`: requests and answers are lines of JSON as the double's `machines` has them, and the end of either is that of the
//! other. A port that the double says it listens at becomes a port of the emulator, and each connection of the guest one to the
//! double's, with an end for each direction. What a machine writes to its first serial port becomes lines as well. The network of the machines is one of this program's own.
//!
//! Paths are those of Linux. Nothing is checked here: the double and the emulator do that.
#![allow(
    clippy::unwrap_used,
    reason = "a test double: what it cannot do ends it, and its connections"
)]

#[cfg(target_os = "linux")]
mod console;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod network;
#[cfg(target_os = "linux")]
mod outside;
#[cfg(target_os = "linux")]
mod ports;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    use anyhow::Context as _;

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, agent, kind] = &arguments[..] else {
        anyhow::bail!("usage: machine-host DIRECTORY AGENT sandbox|qemu");
    };
    let directory = std::path::PathBuf::from(directory);
    let (machine, endpoints) = match kind.as_str() {
        "sandbox" => (emulator::Machine::Sandbox, network::Kind::Veth),
        "qemu" => {
            let qemu = emulator::QemuConfig {
                accelerator: emulator::Accelerator::Tcg,
                ..emulator::QemuConfig::new(directory.join("vm"))
            };
            (emulator::Machine::Qemu(qemu), network::Kind::Tap)
        }
        other => anyhow::bail!("{other} is no kind of machine"),
    };
    let emulator = emulator::Emulator::new(emulator::Config {
        run_dir: directory.join("sandboxes"),
        agent: agent.into(),
        host_network: false,
        machine,
    })
    .context("cannot set up the machines")?;
    // The double is in the host's network; everything below is not.
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let outside = outside::Outside::start();
    network::enter(&directory)?;
    let host = machine::Host {
        emulator,
        endpoints,
        outside,
        directory,
    };
    tokio::runtime::Runtime::new()?.block_on(serve(listener, host))
}

/// Serves machines until the standard input ends.
#[cfg(target_os = "linux")]
async fn serve(listener: std::net::TcpListener, host: machine::Host) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    {
        use std::io::Write as _;
        let mut output = std::io::stdout();
        writeln!(output, "{}", listener.local_addr()?)?;
        output.flush()?;
    }
    let ended = std::thread::spawn(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    let emulator = host.emulator.clone();
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(machine::serve(stream, host.clone()))),
                Err(error) => tokio::task::block_in_place(|| panic!("cannot accept: {error}")),
            }
        }
    });
    tokio::task::spawn_blocking(move || ended.join())
        .await?
        .unwrap()?;
    emulator.shutdown().await;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    panic!("machines of the tests run on Linux");
}
