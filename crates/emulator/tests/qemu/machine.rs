//! What a running machine can be changed in: disks, memory, processors.

use hcs::HResult;
use serde_json::json;

use crate::host::{Host, disk};

#[tokio::test(flavor = "multi_thread")]
async fn disks_come_and_go_while_the_machine_runs() {
    let host = Host::new();
    let mut guest = host.boot("disks").await;
    let layer = host.image("layer.vhd", 1 << 20, 7);
    let scratch = host.image("scratch.vhd", 2 << 20, 0);
    // A disk that was found gets its name in the kernel's own time.
    const FIND: &str = "disk() { for h in /sys/bus/pci/devices/0000:00:1$1.0/virtio*/host*; do n=${h##*host}; i=0; \
        until ls /sys/bus/scsi/devices/$n:0:0:$2/block 2>/dev/null; do \
        echo \"0 0 $2\" > /sys/class/scsi_host/host$n/scan; usleep 100000; \
        i=$((i+1)); [ $i -lt 300 ] || return 1; done; done; }";
    guest.run(FIND).await;

    guest
        .modify(disk("Add", 0, 0, Some((&layer, true))))
        .await
        .unwrap();
    guest
        .modify(disk("Add", 2, 63, Some((&scratch, false))))
        .await
        .unwrap();
    let read_only = guest.run("disk 0 0").await;
    let writable = guest.run("disk 2 63").await;
    // The footer is not part of the disk.
    assert_eq!(
        guest.run(&format!("cat /sys/block/{read_only}/size")).await,
        "2048"
    );
    assert_eq!(guest.run(&format!("cat /sys/block/{read_only}/ro")).await, "1");
    assert_eq!(
        guest.run(&format!("cat /sys/block/{writable}/size")).await,
        "4096"
    );
    let sum = guest
        .run(&format!(
            "head -c 4096 /dev/{read_only} | tr '\\007' x | head -c 3"
        ))
        .await;
    assert_eq!(sum, "xxx");
    guest.run(&format!("echo hello > /dev/{writable}; sync")).await;
    assert_eq!(&std::fs::read(&scratch).unwrap()[..5], b"hello");

    // One writer, or many readers.
    let again = guest
        .modify(disk("Add", 0, 1, Some((&scratch, true))))
        .await
        .unwrap_err();
    assert_eq!(again.hresult, HResult::SHARING_VIOLATION);
    guest
        .modify(disk("Add", 0, 2, Some((&layer, true))))
        .await
        .unwrap();
    let taken = guest
        .modify(disk("Add", 0, 0, Some((&layer, true))))
        .await
        .unwrap_err();
    assert_eq!(taken.hresult, HResult::from_win32(0xB7));

    guest
        .run(&format!("echo 1 > /sys/block/{writable}/device/delete"))
        .await;
    guest.modify(disk("Remove", 2, 63, None)).await.unwrap();
    let gone = guest.modify(disk("Remove", 2, 63, None)).await.unwrap_err();
    assert!(gone.is_not_found());
    // The slot and the image are free again.
    guest
        .modify(disk("Add", 2, 63, Some((&scratch, false))))
        .await
        .unwrap();
    let writable = guest.run("disk 2 63").await;
    assert_eq!(guest.run(&format!("head -c 5 /dev/{writable}")).await, "hello");

    // Another disk in the slot.
    let other = host.image("other.vhd", 1 << 20, 9);
    guest
        .run(&format!("echo 1 > /sys/block/{writable}/device/delete"))
        .await;
    guest
        .modify(disk("Update", 2, 63, Some((&other, true))))
        .await
        .unwrap();
    let replaced = guest.run("disk 2 63").await;
    assert_eq!(
        guest.run(&format!("cat /sys/block/{replaced}/size")).await,
        "2048"
    );

    // A disk that grows has its full size, and in its file what was written.
    let growing = scratch.with_extension("vhdx");
    let file = std::fs::File::create(&growing).unwrap();
    layer::write_empty_growing_scratch(&file, 1 << 30, [7; 16]).unwrap();
    let empty = file.metadata().unwrap().len();
    guest
        .modify(disk("Add", 1, 5, Some((&growing, false))))
        .await
        .unwrap();
    let name = guest.run("disk 1 5").await;
    assert_eq!(guest.run(&format!("cat /sys/block/{name}/size")).await, "2097152");
    guest
        .run(&format!(
            "echo hello | dd of=/dev/{name} bs=1M seek=500 conv=notrunc 2>/dev/null; sync"
        ))
        .await;
    guest
        .run(&format!("echo 1 > /sys/block/{name}/device/delete"))
        .await;
    guest.modify(disk("Remove", 1, 5, None)).await.unwrap();
    assert_eq!(file.metadata().unwrap().len() - empty, 1 << 20);
    guest
        .modify(disk("Add", 1, 5, Some((&growing, true))))
        .await
        .unwrap();
    let name = guest.run("disk 1 5").await;
    let read = format!("dd if=/dev/{name} bs=1M skip=500 count=1 2>/dev/null | head -c 5");
    assert_eq!(guest.run(&read).await, "hello");
    guest.system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_of_the_document_are_there_from_the_start() {
    let host = Host::new();
    let layer = host.image("layer.vhd", 1 << 20, 7);
    let mut document = crate::host::document();
    document["VirtualMachine"]["Devices"]["Scsi"]["1"]["Attachments"] =
        json!({ "5": { "Type": "VirtualDisk", "Path": layer, "ReadOnly": true } });
    let mut guest = host.boot_document("cold", &document).await;
    let size = guest
        .run("h=$(echo /sys/bus/pci/devices/0000:00:11.0/virtio*/host*); n=${h##*host}; \
              cat /sys/bus/scsi/devices/$n:0:0:5/block/*/size || { echo '0 0 5' > /sys/class/scsi_host/host$n/scan; \
              cat /sys/bus/scsi/devices/$n:0:0:5/block/*/size; }")
        .await;
    assert_eq!(size.lines().last(), Some("2048"));
    guest.system.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn persistent_memory_is_mapped_and_comes_while_the_machine_runs() {
    let host = Host::new();
    let (aligned, odd) = (
        host.image("aligned.vhd", 4 << 20, 7),
        host.image("odd.vhd", 1 << 20, 9),
    );
    let mut document = crate::host::document();
    document["VirtualMachine"]["Devices"]["VirtualPMem"] = json!({ "MaximumCount": 4, "MaximumSizeBytes": 64 << 20,
        "Devices": { "0": { "HostPath": aligned, "ReadOnly": true, "ImageFormat": "Vhd1" } } });
    let mut guest = host.boot_document("pmem", &document).await;
    guest
        .run("for name in libnvdimm nd_btt nd_pmem nd_virtio virtio_pmem; do insmod /lib/modules/$name.ko; done")
        .await;
    // The slot of the bridge is powered on in the guest's own time.
    guest.run("i=0; until [ -e /sys/block/pmem0 ]; do usleep 100000; i=$((i+1)); [ $i -lt 300 ] || { dmesg | tail -40; ls /sys/bus/pci/devices; exit 1; }; done").await;
    assert_eq!(guest.run("cat /sys/block/pmem0/size").await, "8192");
    assert_eq!(guest.run("head -c 3 /dev/pmem0 | tr '\\007' x").await, "xxx");
    let request = |kind: &str, number: u32| {
        let path = format!("VirtualMachine/Devices/VirtualPMem/Devices/{number}");
        json!({ "ResourcePath": path, "RequestType": kind })
    };
    let mut add = request("Add", 2);
    add["Settings"] = json!({ "HostPath": odd, "ReadOnly": true, "ImageFormat": "Vhd1" });
    guest.modify(add.clone()).await.unwrap();
    guest.run("until d=$(ls /sys/bus/pci/devices/0000:00:1e.0/*:12.0/virtio*/ndbus*/region*/namespace*/block); do usleep 100000; done; \
               cat /sys/block/$d/size; [ $(head -c 3 /dev/$d | tr '\\011' y) = yyy ]").await;
    let taken = guest.modify(add).await.unwrap_err();
    assert_eq!(taken.hresult, HResult::from_win32(0xB7));
    assert!(
        guest
            .modify(request("Remove", 2))
            .await
            .unwrap_err()
            .is_not_supported()
    );
    assert!(
        guest
            .modify(request("Remove", 3))
            .await
            .unwrap_err()
            .is_not_found()
    );
    let mut beyond = request("Add", 4);
    beyond["Settings"] = json!({ "HostPath": odd, "ReadOnly": true });
    assert!(guest.modify(beyond).await.unwrap_err().is_not_found());
    guest.system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_goes_back_to_the_host_and_is_reported() {
    let host = Host::new();
    let mut guest = host.boot("memory").await;
    let memory = |size: u64| json!({ "ResourcePath": "VirtualMachine/ComputeTopology/Memory/SizeInMB", "RequestType": "Update", "Settings": size });
    let available = |text: String| {
        text.split_ascii_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let before = available(guest.run("grep MemFree /proc/meminfo").await);
    guest.modify(memory(192)).await.unwrap();
    // The guest gives it back in its own time.
    let mut now = before;
    for _ in 0..600 {
        now = available(guest.run("usleep 100000; sync; grep MemFree /proc/meminfo").await);
        if now <= before - 60_000 {
            break;
        }
    }
    assert!(now <= before - 60_000, "{before} kB became {now} kB");
    let more = guest.modify(memory(512)).await.unwrap_err();
    assert!(more.is_not_supported());
    let limits = json!({ "ResourcePath": "VirtualMachine/ComputeTopology/Processor/Limits",
        "Settings": { "Limit": 50000, "Weight": 50 } });
    guest.modify(limits).await.unwrap();
    let text = guest
        .system
        .properties(r#"{"PropertyTypes":["Memory","Statistics"]}"#)
        .await
        .unwrap();
    let properties: hcs::Properties = serde_json::from_str(&text).unwrap();
    let assigned = properties
        .memory
        .unwrap()
        .virtual_machine_memory
        .unwrap()
        .assigned_memory;
    assert_eq!(assigned, 192 * 256);
    let statistics = properties.statistics.unwrap();
    assert!(statistics.memory.unwrap().memory_usage_commit_bytes > 32 << 20);
    assert!(statistics.processor.unwrap().total_runtime_100ns > 0);
    guest.system.terminate().await.unwrap();
}
