//! The double as a host to test on: one test at a time, and a look at what it left.

use std::sync::Arc;
use std::time::Duration;

use compute::hcs::{Deadlines, HcsService};
use compute::{ComputeService, ComputeSystem, Process, Stdio};
use hcs::{Container, Document, HResult, ProcessParameters, Storage, VirtualMachine};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::const_new(());

/// The service, while no other test has it.
pub(crate) struct Host {
    pub(crate) service: HcsService,
    /// The same to somebody who does not wait long; long enough for calls that return.
    pub(crate) hasty: HcsService,
    _turn: MutexGuard<'static, ()>,
}

impl Host {
    pub(crate) async fn new() -> Self {
        let turn = TURN.lock().await;
        let service = HcsService::load().expect("these tests run on the double: ./scripts/test wine");
        let hasty = service.clone().with_deadlines(Deadlines {
            call: Duration::from_secs(5),
            ..Deadlines::default()
        });
        Self {
            service,
            hasty,
            _turn: turn,
        }
    }

    async fn double(&self) -> serde_json::Value {
        double(&self.service).await
    }

    /// What the double says that is wrong.
    pub(crate) async fn report(&self) -> String {
        let double = self.double().await;
        double["Report"]
            .as_str()
            .expect("these tests run on the double")
            .to_owned()
    }

    /// The functions that were called since the last time, without operations and the question itself.
    pub(crate) async fn calls(&self, seen: &mut usize) -> Vec<String> {
        let double = self.double().await;
        let all = double["Calls"].as_array().unwrap();
        let new = all[*seen..].iter().map(|call| call.as_str().unwrap().to_owned());
        *seen = all.len();
        new.filter(|call| !call.contains("Operation") && call != "HcsGetServiceProperties")
            .collect()
    }

    /// The end of a test: handles are closed on threads that nobody waits for, so this asks until the double has nothing.
    pub(crate) async fn finish(self) {
        for _ in 0..1000 {
            if self.report().await == "clean\n" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{}", self.report().await);
    }

    /// A running container whose requests follow these orders.
    pub(crate) async fn container(&self, orders: &str) -> Arc<dyn ComputeSystem> {
        started(&self.service, orders).await
    }
}

/// A running container of somebody's, whose requests follow these orders.
pub(crate) async fn started(service: &HcsService, orders: &str) -> Arc<dyn ComputeSystem> {
    let system = service.create(&id(), &container(orders).to_json()).await.unwrap();
    system.start().await.unwrap();
    system
}

/// What the double tells of itself.
async fn double(service: &HcsService) -> serde_json::Value {
    let text = service.properties("").await.unwrap();
    let mut answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    answer["Double"].take()
}

/// What the guest of a machine has when it has connected to a port of its host.
pub(crate) async fn guest(
    service: &HcsService,
    system: &dyn ComputeSystem,
    port: u32,
) -> std::io::Result<TcpStream> {
    let address = format!("{}/{}", system.runtime_id(), hcs::hvsocket::service_id(port));
    let double = double(service).await;
    let port = double["Sockets"][address].as_u64();
    let port = port.ok_or(std::io::ErrorKind::ConnectionRefused)?;
    TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).await
}

/// Ends a system and closes its handle.
pub(crate) async fn end(system: Arc<dyn ComputeSystem>) {
    match system.terminate().await {
        Err(error) if !error.is_already_stopped() => panic!("{error}"),
        _ => {}
    }
    system.close().await;
}

/// An id that no other test uses.
pub(crate) fn id() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The document of a container whose requests follow these orders of the double.
pub(crate) fn container(orders: &str) -> hcs::ComputeSystem {
    hcs::ComputeSystem {
        owner: format!("test; {orders}"),
        container: Some(Container {
            storage: Some(Storage {
                path: r"\\?\Volume{11111111-1111-4111-8111-111111111111}\".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The same for a virtual machine.
pub(crate) fn machine(orders: &str) -> hcs::ComputeSystem {
    let devices = hcs::Devices {
        plan9: Some(hcs::Plan9::default()),
        hv_socket: Some(hcs::HvSocketDevice {
            hv_socket_config: Some(hcs::HvSocketSystemConfig {
                default_bind_security_descriptor: hcs::hvsocket::ADMINISTRATORS_ONLY.to_owned(),
                ..Default::default()
            }),
        }),
        ..Default::default()
    };
    hcs::ComputeSystem {
        owner: format!("test; {orders}"),
        virtual_machine: Some(Box::new(VirtualMachine {
            devices: Some(Box::new(devices)),
            guest_connection: Some(hcs::GuestConnection::default()),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// The parameters of the test program with these words.
pub(crate) fn program(words: &str) -> ProcessParameters {
    let program = std::env::var("CTR_LIKE_TEST_PROGRAM").expect("these tests are run by ./scripts/test wine");
    ProcessParameters {
        command_line: format!("\"{program}\" {words}"),
        create_std_in_pipe: true,
        create_std_out_pipe: true,
        create_std_err_pipe: true,
        ..Default::default()
    }
}

/// The same at a console, of lines and columns.
pub(crate) fn at_console(words: &str, size: [u16; 2]) -> ProcessParameters {
    ProcessParameters {
        emulate_console: true,
        console_size: size.into(),
        create_std_err_pipe: false,
        ..program(words)
    }
}

/// Starts the test program.
pub(crate) async fn spawn(system: &dyn ComputeSystem, words: &str) -> (Box<dyn Process>, Stdio) {
    let mut process = system.create_process(&program(words).to_json()).await.unwrap();
    let stdio = process.take_stdio();
    (process, stdio)
}

/// All of a stream.
pub(crate) async fn text(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut text = String::new();
    stream.unwrap().read_to_string(&mut text).await.unwrap();
    text
}

/// The code of a failure.
pub(crate) fn code<T>(result: compute::Result<T>) -> HResult {
    match result {
        Ok(_) => HResult::OK,
        Err(error) => error.hresult.canonical(),
    }
}
