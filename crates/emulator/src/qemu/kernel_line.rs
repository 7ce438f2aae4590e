//! The kernel command line of a document, translated from Hyper-V to QEMU.
//!
//! Options that only make sense on Hyper-V, and there keep this machine's devices away, are left out; what remains, and
//! everything for init after ` -- `, stays word for word. The console is the first serial port, which always exists here.

/// The serial console, and its shortest form on the command line.
const CONSOLE: &str = "console=ttyS0";
/// Left out: the devices are on PCI, the sockets are virtio, the serial port exists, and its timer is needed.
const HYPERV_ONLY: [&str; 4] = [
    "pci=off",
    "initcall_blacklist=virtio_vsock_init",
    "8250_core.",
    "pmtmr=",
];
/// Saves start-up time: no probing for hardware that this machine lacks, no self-tests of ciphers, and its clock needs no check.
const QUICK: &str = "cryptomgr.notests tsc=reliable no_timer_check i8042.noaux i8042.nokbd";

/// Translates the command line.
pub(super) fn translate(line: &str) -> String {
    let (options, init) = match split(line) {
        Some((options, init)) => (options, Some(init)),
        None => (line, None),
    };
    let mut words: Vec<&str> = Vec::new();
    for word in options.split_ascii_whitespace() {
        let dropped = HYPERV_ONLY.iter().any(|known| match known.ends_with(['.', '=']) {
            true => word.starts_with(known),
            false => word == *known,
        });
        if !dropped {
            words.push(word);
        }
    }
    if !words.iter().any(|word| word.starts_with("console=")) {
        words.push(CONSOLE);
    }
    words.extend(QUICK.split(' '));
    let mut translated = words.join(" ");
    if let Some(init) = init {
        translated.push_str(" -- ");
        translated.push_str(init.trim_start());
    }
    translated
}

/// The parts before and after the first word that is two dashes.
fn split(line: &str) -> Option<(&str, &str)> {
    if let Some(init) = line.trim_start().strip_prefix("-- ") {
        return Some(("", init));
    }
    line.split_once(" -- ")
        .or_else(|| line.strip_suffix(" --").map(|options| (options, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_for_hyperv_go_and_init_keeps_its_words() {
        let line = " initcall_blacklist=virtio_vsock_init 8250_core.nr_uarts=0 panic=-1 quiet pci=off nr_cpus=2 \
                    brd.rd_nr=0 pmtmr=0 -- -e 1 sh -c \"pci=off  --\"";
        assert_eq!(
            translate(line),
            format!("panic=-1 quiet nr_cpus=2 brd.rd_nr=0 {CONSOLE} {QUICK} -- -e 1 sh -c \"pci=off  --\"")
        );
    }

    #[test]
    fn a_console_of_the_document_stays() {
        let line = "8250_core.nr_uarts=1 console=ttyS0,115200 panic=-1";
        assert_eq!(translate(line), format!("console=ttyS0,115200 panic=-1 {QUICK}"));
        assert_eq!(translate("-- x"), format!("{CONSOLE} {QUICK} -- x"));
        assert_eq!(translate("quiet --"), format!("quiet {CONSOLE} {QUICK} -- "));
    }
}
