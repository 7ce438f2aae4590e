//! What cannot boot, and what cannot be attached: an error that says what to do, and nothing left.

use std::fs;
use std::path::Path;

use compute::{ComputeError, ComputeService};
use hcs::{ExitType, HResult};
use serde_json::{Value, json};

use crate::guest::files;
use crate::host::{Host, disk, document};

async fn refused(host: &Host, document: &Value) -> ComputeError {
    // Tests run side by side, and a cgroup is named by the id.
    let name = host.directory.path().file_name().unwrap().to_str().unwrap();
    let id = format!("bad-{}", name.trim_start_matches('.'));
    let system = host.emulator.create(&id, &document.to_string()).await.unwrap();
    let error = system.start().await.unwrap_err();
    system.close().await;
    assert_eq!(host.leftovers(), Vec::<String>::new());
    assert_eq!(crate::host::cgroups(&id).len(), 0);
    error
}

fn with_kernel(kernel: &Path) -> Value {
    let mut document = document();
    document["VirtualMachine"]["Chipset"]["LinuxKernelDirect"]["KernelFilePath"] = json!(kernel);
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_qemu_says_what_to_install() {
    let host = Host::with(|qemu| qemu.program = "no-such-qemu".into());
    let error = refused(&host, &document()).await.to_string();
    assert!(
        error.contains("no-such-qemu") && error.contains("apt-get install qemu-system-x86"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qemu_that_refuses_is_quoted() {
    let host = Host::new();
    let script = host.directory.path().join("qemu");
    fs::write(&script, "#!/bin/sh\necho 'qemu: the moon is full' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let host = Host::with(|qemu| qemu.program = script);
    let error = refused(&host, &document()).await.to_string();
    assert!(error.contains("the moon is full"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kernels_that_cannot_boot_are_refused_before_anything_starts() {
    let host = Host::new();
    let whole = fs::read(&files().kernel).unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = host.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let mut foreign = whole[..4096].to_vec();
    foreign[18] = 183;
    for (kernel, why) in [
        (Path::new("/no/such/vmlinux").to_owned(), "does not exist"),
        (file("truncated", &whole[..whole.len() / 2]), "truncated"),
        (file("foreign", &foreign), "another processor"),
        (file("text", &[b'x'; 9000]), "no Linux kernel"),
    ] {
        let error = refused(&host, &with_kernel(&kernel)).await.to_string();
        assert!(error.contains(why) && error.contains("build-uvm"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_initrd_is_a_crash_with_the_reason_on_the_console() {
    let host = Host::new();
    let whole = fs::read(&files().initrd).unwrap();
    let initrd = host.directory.path().join("initrd.img");
    fs::write(&initrd, &whole[..whole.len() / 3]).unwrap();
    let mut document = document();
    document["VirtualMachine"]["Chipset"]["LinuxKernelDirect"]["InitRdPath"] = json!(initrd);
    let system = host
        .emulator
        .create("initrd", &document.to_string())
        .await
        .unwrap();
    let mut events = system.events();
    system.start().await.unwrap();
    let mut log = String::new();
    let exit = loop {
        match events.recv().await.unwrap() {
            compute::SystemEvent::Crashed(report) => log = report.crash_log,
            compute::SystemEvent::Exited(exit) => break exit,
            _ => {}
        }
    };
    assert_eq!(exit.exit_type, Some(ExitType::UnexpectedExit));
    assert!(exit.attribution[0].get("GuestCrash").is_some(), "{exit:?}");
    assert!(log.contains("Kernel panic"), "{log}");
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_cannot_be_met_is_refused() {
    let host = Host::new();
    for (size, code) in [
        (2, HResult::E_INVALIDARG),
        (8 * 1024 * 1024, HResult::E_OUTOFMEMORY),
    ] {
        let mut document = document();
        document["VirtualMachine"]["ComputeTopology"]["Memory"]["SizeInMB"] = json!(size);
        assert_eq!(refused(&host, &document).await.hresult, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_disks_are_refused_and_all_slots_can_be_used() {
    let host = Host::new();
    let corrupt = host.directory.path().join("corrupt.vhd");
    fs::write(&corrupt, [0; 8192]).unwrap();
    let mut with_disk = document();
    with_disk["VirtualMachine"]["Devices"]["Scsi"]["0"]["Attachments"] =
        json!({ "0": { "Type": "VirtualDisk", "Path": corrupt, "ReadOnly": true } });
    let error = refused(&host, &with_disk).await;
    assert_eq!(error.hresult, HResult::from_bits(0xC03A_0001));

    let guest = host.boot("disks").await;
    let error = guest
        .modify(disk("Add", 0, 0, Some((&corrupt, true))))
        .await
        .unwrap_err();
    assert_eq!(error.hresult, HResult::from_bits(0xC03A_0001));
    let error = guest
        .modify(disk("Add", 0, 0, Some((Path::new("/no/such.vhd"), true))))
        .await
        .unwrap_err();
    assert_eq!(error.hresult, HResult::from_win32(2));
    let layer = host.image("layer.vhd", 4096, 1);
    let mut attached = 0;
    for number in 0..300 {
        let request = disk("Add", number / 64, number % 64, Some((&layer, true)));
        match guest.modify(request).await {
            Ok(()) => attached += 1,
            Err(error) => assert!(number >= 256 && error.is_not_found(), "{number}: {error}"),
        }
    }
    assert_eq!(attached, 256);
    guest.system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_back_end_lacks_is_refused_with_the_reason() {
    let host = Host::new();
    let mut document = document();
    document["VirtualMachine"]["Devices"]["Keyboard"] = json!({});
    let error = host
        .emulator
        .create("bad", &document.to_string())
        .await
        .err()
        .unwrap();
    assert!(error.is_not_supported(), "{error}");
    assert_eq!(host.leftovers(), Vec::<String>::new());
}
