//! Virtual machines: their sockets, and the files that they may open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use compute::{ComputeService, ComputeSystem};
use hcs::{
    Attachment, AttachmentType, Chipset, Document, HResult, LinuxKernelDirect, ModifySettingRequest,
    RequestType, Resource, scsi,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::host::{Host, code, container, end, guest, id, machine};

const PORT: u32 = 0x4000_0000;
/// `HRESULT_FROM_WIN32` of `ERROR_FILE_NOT_FOUND`, `WSAEACCES` and `WSAEADDRINUSE`.
const FILE_NOT_FOUND: HResult = HResult::from_win32(2);
const NOT_ALLOWED: HResult = HResult::from_win32(10013);
const TAKEN: HResult = HResult::from_win32(10048);

async fn started(host: &Host) -> Arc<dyn ComputeSystem> {
    let system = host.service.create(&id(), &machine("").to_json()).await.unwrap();
    system.start().await.unwrap();
    system
}

/// An empty file on the disk of the tests.
fn file(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("{}-{name}", id()));
    std::fs::write(&path, "").unwrap();
    path
}

fn disk(kind: RequestType, lun: u32, path: &Path) -> String {
    let resource = Resource::ScsiAttachment {
        controller: scsi::CONTROLLERS[0].to_owned(),
        lun,
    };
    let disk = Attachment {
        attachment_type: Some(AttachmentType::VirtualDisk),
        path: path.to_str().unwrap().to_owned(),
        read_only: true,
        ..Default::default()
    };
    match kind {
        RequestType::Remove => ModifySettingRequest::bare(kind, &resource).to_json(),
        _ => ModifySettingRequest::new(kind, &resource, &disk).to_json(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_can_be_opened_by_its_machine_while_it_is_attached() {
    let host = Host::new().await;
    let system = started(&host).await;
    let mut seen = 0;
    drop(host.calls(&mut seen).await);
    let (one, other) = (file("one.vhd"), file("other.vhd"));
    system.modify(&disk(RequestType::Add, 0, &one)).await.unwrap();
    // The same file again needs no second entry, and keeps the first one.
    system.modify(&disk(RequestType::Add, 1, &one)).await.unwrap();
    system.modify(&disk(RequestType::Remove, 0, &one)).await.unwrap();
    system.modify(&disk(RequestType::Remove, 1, &one)).await.unwrap();
    let change = "HcsModifyComputeSystem";
    let expected = [
        "HcsGrantVmAccess",
        change,
        change,
        change,
        change,
        "HcsRevokeVmAccess",
    ];
    assert_eq!(host.calls(&mut seen).await, expected);

    // A change that fails leaves no entry, and one whose disk is still there goes with the machine.
    system.modify(&disk(RequestType::Add, 2, &other)).await.unwrap();
    assert!(system.modify(&disk(RequestType::Add, 2, &one)).await.is_err());
    let missing = system
        .modify(&disk(RequestType::Add, 3, Path::new("C:\\no-such.vhd")))
        .await;
    let error = missing.unwrap_err();
    assert_eq!(error.hresult, FILE_NOT_FOUND);
    assert!(error.to_string().contains("no-such.vhd"), "{error}");
    end(system).await;
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_machine_boots_can_be_opened_by_it() {
    let host = Host::new().await;
    let (kernel, initrd) = (file("vmlinux"), file("initrd.img"));
    let mut document = machine("");
    let chipset = Chipset {
        linux_kernel_direct: Some(LinuxKernelDirect {
            kernel_file_path: kernel.to_str().unwrap().to_owned(),
            init_rd_path: initrd.to_str().unwrap().to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    document.virtual_machine.as_mut().unwrap().chipset = Some(chipset);
    let system = host.service.create(&id(), &document.to_json()).await.unwrap();
    system.start().await.unwrap();
    end(system).await;

    std::fs::remove_file(&initrd).unwrap();
    let refused = host.service.create(&id(), &document.to_json()).await;
    let error = refused.err().unwrap();
    assert_eq!(error.hresult, FILE_NOT_FOUND);
    assert!(error.to_string().contains("initrd.img"), "{error}");
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_no_document_names_can_be_opened_until_the_handle_is_closed() {
    let host = Host::new().await;
    let system = started(&host).await;
    let mut seen = 0;
    drop(host.calls(&mut seen).await);
    let below = file("blank-base.vhdx");
    for _ in 0..2 {
        system.grant(below.to_str().unwrap()).await.unwrap();
    }
    assert_eq!(host.calls(&mut seen).await, ["HcsGrantVmAccess"]);
    let error = system.grant("C:\\no-such.vhdx").await.unwrap_err();
    assert_eq!(error.hresult, FILE_NOT_FOUND);
    assert!(error.to_string().contains("no-such.vhdx"), "{error}");
    end(system).await;
    // What was not taken back would be a line of the report.
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_refused_where_windows_refuses_them() {
    let host = Host::new().await;
    let system = started(&host).await;
    let listener = system.listen(PORT).await.unwrap();
    let error = system.listen(PORT).await.err().unwrap();
    assert_eq!(error.hresult, TAKEN);
    // A port is a service like any other.
    let service = hcs::hvsocket::service_id(PORT);
    assert_eq!(code(system.listen_service(service).await), TAKEN);
    drop(listener);
    let windows = uuid::Uuid::parse_str("acef5661-84a1-4e44-856b-6245e69f4620").unwrap();
    drop(system.listen_service(windows).await.unwrap());

    let mut closed = machine("");
    closed
        .virtual_machine
        .as_mut()
        .unwrap()
        .devices
        .as_mut()
        .unwrap()
        .hv_socket = None;
    let mute = host.service.create(&id(), &closed.to_json()).await.unwrap();
    assert_eq!(code(mute.listen(PORT).await), NOT_ALLOWED);
    end(mute).await;

    let other = host
        .service
        .create(&id(), &container("").to_json())
        .await
        .unwrap();
    assert_eq!(code(other.listen(PORT).await), HResult::NOT_SUPPORTED);
    end(other).await;

    system.terminate().await.unwrap();
    assert_eq!(code(system.listen(PORT).await), HResult::SYSTEM_ALREADY_STOPPED);
    system.close().await;
    assert_eq!(code(system.listen(PORT).await), HResult::E_HANDLE);
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_guest_ends_with_the_machine_and_can_be_given_up() {
    let host = Host::new().await;
    let system = started(&host).await;
    let mut listener = system.listen(PORT).await.unwrap();
    // Given up before anybody came: the next one who waits gets the guest, and nothing is lost.
    {
        let waiting = listener.accept();
        tokio::pin!(waiting);
        assert!(futures_poll(waiting.as_mut()).await.is_none());
    }
    let mut connected = guest(&host.service, &*system, PORT).await.unwrap();
    let mut stream = listener.accept().await.unwrap();
    connected.write_all(b"first").await.unwrap();
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"first");
    // A guest that goes is the end of its stream.
    drop(connected);
    assert_eq!(stream.read(&mut bytes).await.unwrap(), 0);

    let ended = system.terminate();
    let (accepted, ended) = tokio::join!(listener.accept(), ended);
    ended.unwrap();
    assert_eq!(code(accepted.map(drop)), HResult::CONNECTION_CLOSED);
    drop((listener, stream));
    system.close().await;
    host.finish().await;
}

/// What a future has when it is asked once.
async fn futures_poll<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        let polled = std::pin::Pin::new(&mut future).poll(context);
        std::task::Poll::Ready(match polled {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
