//! KVM where it works, emulation where it does not, and the first machine finds out for all.

use std::path::Path;

use emulator::Accelerator;

use crate::host::Host;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_comes_up_whether_kvm_works_or_not() {
    let host = Host::with(|qemu| qemu.accelerator = Accelerator::Auto);
    let mut first = host.boot("auto-1").await;
    assert_eq!(first.run("echo up").await, "up");
    let verdict = std::fs::read_to_string(host.directory.path().join("state/kvm"));
    if Path::new("/dev/kvm").exists() {
        let verdict = verdict.unwrap();
        println!("{verdict}");
        assert!(
            verdict.ends_with(" works\n") || verdict.ends_with(" fails\n"),
            "{verdict}"
        );
    }
    first.system.terminate().await.unwrap();
    let mut second = host.boot("auto-2").await;
    assert_eq!(second.run("echo up").await, "up");
    second.system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}
