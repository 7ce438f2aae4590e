//! What Wine's own boot program does in seconds, for a prefix that is prepared: only what differs from container to container.
//!
//! The name of the computer, the description of the processors, and the values that the container's document adds. Then every
//! process that waits for the boot is let go. Services are not started: nothing in a container here asks for them, and they
//! would cost more than most programs.
//!
//! A value that cannot be set does not keep the container from running; init logs it.

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use win32::registry::{self, Key};

use crate::DIRECTORY;
use crate::fields::Fields;

/// Names of NetBIOS are not longer.
const NETBIOS: usize = 15;
/// What Wine's processes wait for.
const BOOTED: &str = r"\KernelObjects\__wineboot_event";
const COMPUTER: &str = r"System\CurrentControlSet\Control\ComputerName";
const TCPIP: &str = r"System\CurrentControlSet\Services\Tcpip\Parameters";

pub(crate) fn boot() -> ExitCode {
    let prepared = prepare();
    if let Err(error) = &prepared {
        report(error);
    }
    match win32::system_event::set(BOOTED) {
        Ok(()) if prepared.is_ok() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn report(error: &io::Error) {
    if let Ok(mut file) = fs::File::options()
        .append(true)
        .open(format!(r"{DIRECTORY}\boot-errors"))
    {
        // There is nobody else to tell.
        let _ = writeln!(file, "{error}");
    }
}

fn prepare() -> io::Result<()> {
    let text = fs::read_to_string(format!(r"{DIRECTORY}\boot"))?;
    let mut fields = Fields::new(&text);
    name_computer(fields.text()?)?;
    let processors = fields.number()?;
    let (vendor, name, mhz) = (fields.text()?, fields.text()?, fields.number()?);
    for number in 0..processors {
        let path = format!(r"Hardware\Description\System\CentralProcessor\{number}");
        let key = Key::create(&path, true)?;
        key.set_text("VendorIdentifier", vendor)?;
        key.set_text("ProcessorNameString", name)?;
        key.set("~MHz", 4, &mhz.to_le_bytes())?;
    }
    while let Some(kind) = fields.next() {
        let path = fields.text()?;
        match kind {
            "delete" => match registry::delete(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
            _ => {
                let volatile = kind == "volatile";
                let (name, kind) = (fields.text()?, fields.number()?);
                Key::create(path, volatile)?.set(name, kind, &fields.bytes()?)?;
            }
        }
    }
    Ok(())
}

/// What the functions that tell the computer's name read.
fn name_computer(host: &str) -> io::Result<()> {
    let short: String = host.to_uppercase().chars().take(NETBIOS).collect();
    Key::create(&format!(r"{COMPUTER}\ComputerName"), false)?.set_text("ComputerName", &short)?;
    Key::create(&format!(r"{COMPUTER}\ActiveComputerName"), true)?.set_text("ComputerName", &short)?;
    let tcpip = Key::create(TCPIP, false)?;
    tcpip.set_text("Hostname", host)?;
    tcpip.set_text("NV Hostname", host)?;
    tcpip.set_text("Domain", "")
}
