//! All handles that were given out, and the report of what was done wrong with them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use uuid::Uuid;
use windows_sys::Win32::Foundation::HINSTANCE;
use windows_sys::Win32::System::SystemServices::DLL_PROCESS_DETACH;
use windows_sys::core::BOOL;

use crate::operations::Operation;
use crate::processes::ProcessHandle;
use crate::systems::{System, SystemHandle};
use crate::{access, heap, sockets};

/// A handle as callers have it: a number that is never used again.
pub(crate) type Handle = *mut c_void;

/// What a handle stands for.
#[derive(Clone)]
pub(crate) enum Object {
    Operation(Arc<Operation>),
    System(Arc<SystemHandle>),
    Process(Arc<ProcessHandle>),
}

impl Object {
    fn kind(&self) -> &'static str {
        match self {
            Self::Operation(_) => "an operation",
            Self::System(_) => "a compute system",
            Self::Process(_) => "a process",
        }
    }
}

#[derive(Default)]
pub(crate) struct World {
    objects: Mutex<BTreeMap<usize, Object>>,
    closed: Mutex<HashMap<usize, &'static str>>,
    pub(crate) systems: Mutex<HashMap<String, Arc<System>>>,
    misuse: Mutex<Vec<String>>,
    calls: Mutex<Vec<&'static str>>,
}

pub(crate) fn world() -> &'static World {
    static WORLD: LazyLock<World> = LazyLock::new(World::default);
    &WORLD
}

/// Writes down what a caller did wrong.
pub(crate) fn misuse(function: &str, what: impl std::fmt::Display) {
    world().misuse.lock().unwrap().push(format!("{function}: {what}"));
}

/// Notes that a function was called.
pub(crate) fn called(function: &'static str) {
    world().calls.lock().unwrap().push(function);
}

impl World {
    /// The functions that were called, in order.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.calls.lock().unwrap().clone()
    }

    /// A handle for an object.
    pub(crate) fn give(&self, object: Object) -> Handle {
        static NEXT: AtomicUsize = AtomicUsize::new(0x5_0000);
        let number = NEXT.fetch_add(0x10, Ordering::Relaxed);
        self.objects.lock().unwrap().insert(number, object);
        std::ptr::without_provenance_mut(number)
    }

    /// The virtual machine with a runtime id.
    pub(crate) fn machine(&self, runtime_id: Uuid) -> Option<Arc<System>> {
        let systems = self.systems.lock().unwrap();
        systems
            .values()
            .find(|system| system.is_machine(runtime_id))
            .cloned()
    }

    /// What was done wrong, forgotten with this.
    #[cfg(test)]
    pub(crate) fn take_misuse(&self) -> Vec<String> {
        std::mem::take(&mut self.misuse.lock().unwrap())
    }

    fn find(&self, function: &str, handle: Handle) -> Option<Object> {
        let found = self.objects.lock().unwrap().get(&handle.addr()).cloned();
        if found.is_none() {
            match self.closed.lock().unwrap().get(&handle.addr()) {
                Some(kind) => misuse(
                    function,
                    format_args!("used the handle of {kind} after its close"),
                ),
                None => misuse(function, format_args!("{handle:?} was never a handle")),
            }
        }
        found
    }

    pub(crate) fn operation(&self, function: &str, handle: Handle) -> Option<Arc<Operation>> {
        match self.find(function, handle)? {
            Object::Operation(operation) => Some(operation),
            other => wrong(function, &other),
        }
    }

    pub(crate) fn system(&self, function: &str, handle: Handle) -> Option<Arc<SystemHandle>> {
        match self.find(function, handle)? {
            Object::System(system) => Some(system),
            other => wrong(function, &other),
        }
    }

    pub(crate) fn process(&self, function: &str, handle: Handle) -> Option<Arc<ProcessHandle>> {
        match self.find(function, handle)? {
            Object::Process(process) => Some(process),
            other => wrong(function, &other),
        }
    }

    /// Takes a handle back.
    pub(crate) fn forget(&self, handle: Handle) {
        if let Some(object) = self.objects.lock().unwrap().remove(&handle.addr()) {
            self.closed.lock().unwrap().insert(handle.addr(), object.kind());
        }
    }

    /// What is wrong so far, counting everything that is open as wrong; see the header of the crate.
    pub(crate) fn report(&self) -> String {
        let mut report = String::new();
        // A thread that was ended with the process may have held a lock.
        match (
            self.misuse.try_lock(),
            self.objects.try_lock(),
            self.systems.try_lock(),
        ) {
            (Ok(misuse), Ok(objects), Ok(systems)) => {
                for line in misuse.iter() {
                    writeln!(report, "{line}").unwrap();
                }
                for object in objects.values() {
                    writeln!(report, "never closed: {}", object.kind()).unwrap();
                }
                for id in systems.keys() {
                    writeln!(report, "left behind: system {id}").unwrap();
                }
            }
            _ => report.push_str("a lock is held\n"),
        }
        report.push_str(&heap::report());
        report.push_str(&sockets::report());
        report.push_str(&access::report());
        if report.is_empty() {
            report.push_str("clean\n");
        }
        report
    }
}

fn wrong<T>(function: &str, object: &Object) -> Option<T> {
    misuse(function, format_args!("the handle is that of {}", object.kind()));
    None
}

/// The end of the process is when what was not closed is known.
#[unsafe(no_mangle)]
extern "system" fn DllMain(_: HINSTANCE, reason: u32, _: *mut c_void) -> BOOL {
    if reason == DLL_PROCESS_DETACH
        && let Some(folder) = std::env::var_os("CTR_LIKE_DOUBLE_REPORTS")
    {
        let (folder, process) = (PathBuf::from(folder), std::process::id());
        // Nobody is left to tell of a failure; whoever reads the report misses it.
        drop(fs::write(
            folder.join(format!("{process}-computecore.report")),
            world().report(),
        ));
        // The other doubles have their lines in the same file.
        let calls = OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join(format!("{process}.calls")));
        if let (Ok(mut file), Ok(calls)) = (calls, world().calls.try_lock()) {
            let lines: String = calls
                .iter()
                .map(|call| format!("computecore.dll {call}\n"))
                .collect();
            drop(file.write_all(lines.as_bytes()));
        }
    }
    1
}
