//! The command line of QEMU, as a function of what the machine is.
//!
//! Nothing of the user's configuration or the defaults is used: every device is named here, at a place on the PCI bus that the guest
//! relies on. The socket of the control connection and standard output, the console, are inherited.
//!
//! q35 and not microvm, which hangs on some boots; without `la57` and `cx16` under emulation, which get them wrong.

use std::ffi::OsString;
use std::path::Path;

/// The descriptor of the control connection in the monitor.
pub(super) const QMP: i32 = 3;
/// The socket of the socket device, in the monitor's directory.
pub(super) const VSOCK: &str = "device";
/// The emulated processor. Without the string instructions that copy by bytes, which an emulator takes byte by byte: kernels then
/// copy and clear by words.
const EMULATED: &str = "max,la57=off,cx16=off,erms=off,fsrm=off";
/// Number of the first persistent memory device's slot, behind the bridge.
const FIRST_PMEM: u32 = 0x10;

/// How processors are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Processor {
    Kvm,
    Tcg,
}

impl std::fmt::Display for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

/// What the command line depends on.
#[derive(Debug, Clone)]
pub(super) struct Options<'a> {
    pub(super) id: &'a str,
    pub(super) processor: Processor,
    pub(super) processors: u32,
    pub(super) memory_mb: u64,
    pub(super) kernel: &'a Path,
    pub(super) initrd: Option<&'a Path>,
    /// As QEMU passes it on.
    pub(super) kernel_line: &'a str,
    /// Whether there is a SCSI controller with the number of the place.
    pub(super) controllers: &'a [bool],
    /// Largest persistent memory that can be added later, in MB; 0 for none.
    pub(super) pmem_mb: u64,
}

/// Persistent memory devices of a machine: as many as the bridge has slots for them.
pub(super) const MOST_PMEM: u32 = 16;

/// The place of a persistent memory device.
pub(super) fn pmem_place(number: u32) -> String {
    format!("{:#x}", FIRST_PMEM + number)
}

/// The arguments of QEMU.
pub(super) fn arguments(options: &Options<'_>) -> Vec<OsString> {
    let mut all = Arguments(Vec::new());
    for plain in ["-nodefaults", "-no-user-config", "-no-reboot", "-S"] {
        all.0.push(plain.into());
    }
    all.add("-display", "none");
    all.add("-name", escaped(options.id));
    all.add(
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    );
    let machine = "q35,memory-backend=ram,sata=off,smbus=off,vmport=off,usb=off,graphics=off";
    all.add("-machine", machine);
    match options.processor {
        Processor::Kvm => {
            all.add("-accel", "kvm");
            all.add("-cpu", "host");
        }
        Processor::Tcg => {
            all.add("-accel", "tcg,thread=multi");
            all.add("-cpu", EMULATED);
        }
    }
    all.add("-smp", options.processors.to_string());
    match options.pmem_mb {
        0 => all.add("-m", format!("{}M", options.memory_mb)),
        more => all.add(
            "-m",
            format!("{0}M,maxmem={1}M", options.memory_mb, options.memory_mb + more),
        ),
    }
    // Shared, because the socket device reads the guest's queues in another process.
    let memory = format!("memory-backend-memfd,id=ram,share=on,size={}M", options.memory_mb);
    all.add("-object", memory);
    all.0.push("-kernel".into());
    all.0.push(options.kernel.into());
    if let Some(initrd) = options.initrd {
        all.0.push("-initrd".into());
        all.0.push(initrd.into());
    }
    all.add("-append", options.kernel_line);
    // The firmware (SeaBIOS 1.14 and newer) then brings up no device but what it boots from. Else it asks each controller for 256 disks.
    all.add("-boot", "strict=on");

    all.add("-chardev", format!("socket,id=qmp,fd={QMP}"));
    all.add("-mon", "chardev=qmp,mode=control");
    all.add("-chardev", "stdio,id=console,signal=off");
    all.add("-device", "isa-serial,chardev=console");
    all.add("-chardev", format!("socket,id=vsock,path={VSOCK}"));
    all.add(
        "-device",
        "vhost-user-vsock-pci,chardev=vsock,bus=pcie.0,addr=0x2",
    );
    all.add("-object", "rng-builtin,id=entropy");
    all.add("-device", "virtio-rng-pci,rng=entropy,bus=pcie.0,addr=0x3");
    all.add(
        "-device",
        "virtio-balloon-pci,id=balloon,free-page-reporting=on,deflate-on-oom=on,bus=pcie.0,addr=0x4",
    );
    for (number, exists) in options.controllers.iter().enumerate() {
        if *exists {
            all.add(
                "-device",
                format!(
                    "virtio-scsi-pci,id=scsi{number},num_queues=1,bus=pcie.0,addr={:#x}",
                    0x10 + number
                ),
            );
        }
    }
    // For what comes while the machine runs: the bus of the board takes nothing then.
    all.add("-device", "pcie-pci-bridge,id=hot,bus=pcie.0,addr=0x1e");
    all.0
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push(name.into());
        self.0.push(value.into().into());
    }
}

/// A value inside an option: a comma would begin the next one.
fn escaped(text: &str) -> String {
    text.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options<'static> {
        Options {
            id: "a,b@vm",
            processor: Processor::Tcg,
            processors: 2,
            memory_mb: 256,
            kernel: Path::new("/uvm/vmlinux"),
            initrd: Some(Path::new("/uvm/initrd.img")),
            kernel_line: "panic=-1 -- -e 1 /bin/gcs, x",
            controllers: &[true, false, true],
            pmem_mb: 0,
        }
    }

    fn line(options: &Options<'_>) -> Vec<String> {
        arguments(options)
            .into_iter()
            .map(|argument| argument.into_string().unwrap())
            .collect()
    }

    fn value<'a>(line: &'a [String], name: &str) -> Vec<&'a str> {
        line.windows(2)
            .filter(|pair| pair[0] == name)
            .map(|pair| pair[1].as_str())
            .collect()
    }

    #[test]
    fn a_machine_is_what_its_options_say() {
        let line = line(&options());
        assert_eq!(value(&line, "-name"), ["a,,b@vm"]);
        assert_eq!(value(&line, "-smp"), ["2"]);
        assert_eq!(value(&line, "-m"), ["256M"]);
        assert_eq!(value(&line, "-cpu"), [EMULATED]);
        assert_eq!(value(&line, "-kernel"), ["/uvm/vmlinux"]);
        assert_eq!(value(&line, "-append"), ["panic=-1 -- -e 1 /bin/gcs, x"]);
        assert!(value(&line, "-object").contains(&"memory-backend-memfd,id=ram,share=on,size=256M"));
        assert_eq!(value(&line, "-boot"), ["strict=on"]);
        for plain in ["-nodefaults", "-no-user-config", "-no-reboot", "-S"] {
            assert!(line.iter().any(|word| word == plain), "{plain}");
        }
    }

    #[test]
    fn controllers_are_where_the_guest_looks_for_them() {
        let line = line(&options());
        let controllers: Vec<_> = value(&line, "-device")
            .into_iter()
            .filter(|device| device.starts_with("virtio-scsi-pci"))
            .map(str::to_owned)
            .collect();
        assert_eq!(
            controllers,
            [
                "virtio-scsi-pci,id=scsi0,num_queues=1,bus=pcie.0,addr=0x10",
                "virtio-scsi-pci,id=scsi2,num_queues=1,bus=pcie.0,addr=0x12"
            ]
        );
    }

    #[test]
    fn memory_can_grow_only_where_persistent_memory_may_come() {
        let line = line(&Options {
            pmem_mb: 1024,
            processor: Processor::Kvm,
            initrd: None,
            ..options()
        });
        assert_eq!(value(&line, "-m"), ["256M,maxmem=1280M"]);
        assert_eq!(value(&line, "-cpu"), ["host"]);
        assert!(value(&line, "-initrd").is_empty());
        assert!(value(&line, "-device").contains(&"pcie-pci-bridge,id=hot,bus=pcie.0,addr=0x1e"));
        assert_eq!(pmem_place(15), "0x1f");
    }
}
