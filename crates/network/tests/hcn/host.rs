//! A host to test on: one test at a time, without networks at first.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use network::{Attachment, HcnDriver, NetworkError, Port, Protocol};
use serde_json::Value;

static TURN: Mutex<()> = Mutex::new(());

/// Longer than a loaded machine takes for a call that does not hang.
const PATIENCE: Duration = Duration::from_secs(300);

/// The host, while no other test has it.
pub(crate) struct Host {
    pub(crate) driver: HcnDriver,
    runtime: tokio::runtime::Runtime,
    seen: usize,
    _turn: MutexGuard<'static, ()>,
}

fn place(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(name).expect("these tests are run by ./scripts/test wine"))
}

fn records() -> PathBuf {
    place("CTR_LIKE_NETWORKS").join("networks.json")
}

/// What the double is told to do wrong.
pub(crate) fn order(lines: &str) {
    fs::write(place("CTR_LIKE_LAYER_ORDERS"), lines).unwrap();
}

/// A driver of another daemon with the same owner.
pub(crate) fn another() -> HcnDriver {
    HcnDriver::new("tests").with_deadline(PATIENCE)
}

impl Host {
    pub(crate) fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        order("");
        drop(fs::remove_file(records()));
        let mut host = Self {
            driver: another(),
            runtime: tokio::runtime::Runtime::new().unwrap(),
            seen: 0,
            _turn: turn,
        };
        host.calls();
        host
    }

    /// Runs what is asynchronous to its end.
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The networks, endpoints or namespaces that there are.
    pub(crate) fn count(&self, what: &str) -> usize {
        let Ok(text) = fs::read(records()) else { return 0 };
        let records: Value = serde_json::from_slice(&text).unwrap();
        records[what].as_object().unwrap().len()
    }

    /// Nothing but networks is left.
    pub(crate) fn is_empty(&self) -> bool {
        (self.count("endpoints"), self.count("namespaces")) == (0, 0)
    }

    /// Forgets everything, as a reboot does.
    pub(crate) fn reboot(&self) {
        fs::remove_file(records()).unwrap();
    }

    /// The calls since the last time: function, arguments.
    pub(crate) fn calls(&mut self) -> Vec<(String, Value)> {
        let file = place("CTR_LIKE_DOUBLE_REPORTS").join(format!("{}.calls", std::process::id()));
        let text = fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let new = lines[self.seen..]
            .iter()
            .map(|line| {
                let mut words = line.splitn(3, ' ').skip(1).map(str::to_owned);
                let mut word = || words.next().unwrap();
                (word(), serde_json::from_str(&word()).unwrap())
            })
            .collect();
        self.seen = lines.len();
        new
    }

    /// The end of a test: nothing is under way, and nothing was done wrong.
    pub(crate) fn finish(self) {
        order("");
        assert!(win32::calls::settle(PATIENCE), "a call is under way");
        let report =
            place("CTR_LIKE_DOUBLE_REPORTS").join(format!("{}-computenetwork.report", std::process::id()));
        assert!(!report.exists(), "{}", fs::read_to_string(report).unwrap());
    }
}

/// A port of the host that leads to one of a container.
pub(crate) fn tcp(host: u16, container: u16) -> Port {
    Port {
        host,
        container,
        protocol: Protocol::Tcp,
    }
}

/// The code that a failure has, as people write it.
pub(crate) fn code(result: Result<Attachment, NetworkError>) -> String {
    let error = result.unwrap_err();
    let code = error.code().unwrap_or_else(|| panic!("{error}"));
    format!("{:08X}", code.bits())
}
