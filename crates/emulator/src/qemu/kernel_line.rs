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

/// A machine without Hyper-V's clock: an agent that is told to follow it does not start.
const NO_CLOCK: &str = "-disable-time-sync";
/// The agent's program. Its flags follow.
const AGENT: &str = "/bin/gcs";

/// Translates the command line. `init` is what the kernel runs instead of `/init`.
pub(super) fn translate(line: &str, init: Option<&str>) -> String {
    let runs = init;
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
    if let Some(program) = runs {
        translated.push_str(&format!(" rdinit={program}"));
    }
    if let Some(init) = init {
        translated.push_str(" -- ");
        match runs {
            Some(_) => translated.push_str(&without_clock(init.trim_start())),
            None => translated.push_str(init.trim_start()),
        }
    }
    translated
}

/// Whether the line itself says what the kernel runs.
pub(super) fn names_init(line: &str) -> bool {
    let (options, _) = split(line).unwrap_or((line, ""));
    options
        .split_ascii_whitespace()
        .any(|word| word.starts_with("rdinit="))
}

/// Init's words, the agent among them told that there is no clock to follow.
fn without_clock(init: &str) -> String {
    if init.split_ascii_whitespace().any(|word| word == NO_CLOCK) {
        return init.to_owned();
    }
    let words = init.split_inclusive(' ').map(|word| match word.trim_end() {
        AGENT => format!("{AGENT} {NO_CLOCK}{}", &word[AGENT.len()..]),
        _ => word.to_owned(),
    });
    words.collect()
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
            translate(line, None),
            format!("panic=-1 quiet nr_cpus=2 brd.rd_nr=0 {CONSOLE} {QUICK} -- -e 1 sh -c \"pci=off  --\"")
        );
    }

    #[test]
    fn a_console_of_the_document_stays() {
        let line = "8250_core.nr_uarts=1 console=ttyS0,115200 panic=-1";
        assert_eq!(
            translate(line, None),
            format!("console=ttyS0,115200 panic=-1 {QUICK}")
        );
        assert_eq!(translate("-- x", None), format!("{CONSOLE} {QUICK} -- x"));
        assert_eq!(
            translate("quiet --", None),
            format!("quiet {CONSOLE} {QUICK} -- ")
        );
    }

    #[test]
    fn somebody_elses_agent_comes_after_ours_and_is_told_of_the_missing_clock() {
        let first = format!("{CONSOLE} {QUICK} rdinit=/p --");
        for (init, expected) in [
            (
                "-e 1 /bin/vsockexec -e 109 /bin/gcs -v4",
                "-e 1 /bin/vsockexec -e 109 /bin/gcs -disable-time-sync -v4",
            ),
            (
                "sh -c \"/bin/vsockexec -e 109 /bin/gcs -v4 & exec sh\"",
                "sh -c \"/bin/vsockexec -e 109 /bin/gcs -disable-time-sync -v4 & exec sh\"",
            ),
            ("/bin/gcs", "/bin/gcs -disable-time-sync"),
            (
                "/bin/gcs -v4 -disable-time-sync",
                "/bin/gcs -v4 -disable-time-sync",
            ),
        ] {
            assert_eq!(
                translate(&format!("-- {init}"), Some("/p")),
                format!("{first} {expected}")
            );
        }
        assert!(names_init("quiet rdinit=/bin/sh -- x"));
        assert!(!names_init("quiet -- rdinit=/bin/sh"));
    }
}
