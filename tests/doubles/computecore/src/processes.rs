//! Processes: real ones, in the job of their system.

use std::os::windows::io::{AsHandle, AsRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use compute::state::Operation as Step;
use hcs::{Document, HResult, ProcessModifyRequest, ProcessParameters, ProcessStatus, StdHandle};
use windows_sys::Win32::System::HostComputeSystem::HcsEventProcessExited;
use windows_sys::Win32::System::JobObjects::AssignProcessToJobObject;
use windows_sys::Win32::System::Threading::TerminateProcess;

use crate::events::Listener;
use crate::operations::{Fault, Information};
use crate::pipes::{self, Input};
use crate::systems::System;
use crate::volume::Volume;

/// The exit code of a process that was ended by a console event.
pub(crate) const CONTROL_EXIT: u32 = 0xC000_013A;

/// One handle of a process. A creation that failed leaves it without one.
pub(crate) struct ProcessHandle {
    pub(crate) system: Arc<System>,
    pub(crate) process: OnceLock<Arc<Process>>,
    pub(crate) listener: Arc<Listener>,
    /// Signals through one handle wait for each other.
    pub(crate) signals: Mutex<()>,
    /// Pipes that the creation could not hand over.
    pub(crate) unclaimed: Mutex<Option<Information>>,
}

impl ProcessHandle {
    pub(crate) fn new(system: &Arc<System>) -> Arc<Self> {
        Arc::new(Self {
            system: Arc::clone(system),
            process: OnceLock::new(),
            listener: Arc::default(),
            signals: Mutex::default(),
            unclaimed: Mutex::default(),
        })
    }

    pub(crate) fn attach(self: &Arc<Self>, process: Arc<Process>) {
        let mut handles = self.system.process_handles.lock().unwrap();
        assert!(self.process.set(process).is_ok(), "a new handle");
        handles.push(Arc::clone(self));
    }
}

pub(crate) struct Process {
    pub(crate) pid: u32,
    handle: OwnedHandle,
    input: Option<Arc<Input>>,
    exit: Mutex<Option<u32>>,
    end: Condvar,
}

impl Process {
    /// Starts a process in a running system.
    pub(crate) fn start(system: &Arc<System>, text: &str) -> Result<(Arc<Self>, Information), Fault> {
        system.begin(Step::CreateProcess)?;
        let parameters = ProcessParameters::from_json(text)?;
        let (mut command, mut information, input) = command(&parameters, system.volume.as_ref())?;
        let child = command
            .spawn()
            .map_err(|error| HResult::from_win32(error.raw_os_error().unwrap_or(87).cast_unsigned()))?;
        // The process's ends of the pipes are its alone from here on.
        drop(command);
        let handle = child
            .as_handle()
            .try_clone_to_owned()
            .map_err(|_| HResult::E_OUTOFMEMORY)?;
        // SAFETY: both handles are open.
        unsafe { AssignProcessToJobObject(system.job.as_raw_handle(), handle.as_raw_handle()) };
        information.pid = child.id();
        let process = Arc::new(Self {
            pid: child.id(),
            handle,
            input,
            exit: Mutex::default(),
            end: Condvar::new(),
        });
        system
            .processes
            .lock()
            .unwrap()
            .insert(process.pid, Arc::clone(&process));
        let (this, system_of_it) = (Arc::clone(&process), Arc::clone(system));
        std::thread::spawn(move || this.watch(child, &system_of_it));
        if system.begin(Step::CreateProcess).is_err() {
            // The end of the system came in between and may have missed it.
            process.kill(HResult::TERMINATED.bits());
        }
        Ok((process, information))
    }

    fn watch(&self, mut child: Child, system: &System) {
        let code = child.wait().unwrap().code().unwrap_or_default().cast_unsigned();
        let handles = system.process_handles.lock().unwrap();
        *self.exit.lock().unwrap() = Some(code);
        self.end.notify_all();
        for handle in handles.iter() {
            if handle
                .process
                .get()
                .is_some_and(|process| std::ptr::eq(&raw const **process, self))
            {
                handle
                    .listener
                    .end(HcsEventProcessExited, Some(self.status().to_json()));
            }
        }
        drop(handles);
        if let Some(input) = &self.input {
            input.close();
        }
    }

    pub(crate) fn exit(&self) -> Option<u32> {
        *self.exit.lock().unwrap()
    }

    pub(crate) fn wait(&self) {
        drop(
            self.end
                .wait_while(self.exit.lock().unwrap(), |exit| exit.is_none())
                .unwrap(),
        );
    }

    pub(crate) fn status(&self) -> ProcessStatus {
        let exit = self.exit();
        ProcessStatus {
            process_id: self.pid,
            exited: exit.is_some(),
            exit_code: exit.unwrap_or_default(),
            last_wait_result: 0,
        }
    }

    pub(crate) fn kill(&self, code: u32) {
        // SAFETY: the handle is open for as long as `self` lives.
        unsafe { TerminateProcess(self.handle.as_raw_handle(), code) };
    }

    pub(crate) fn modify(&self, text: &str) -> Result<(), Fault> {
        let request = ProcessModifyRequest::from_json(text)?;
        if let Some(close) = request.close_handle
            && matches!(close.handle, Some(StdHandle::StdIn | StdHandle::All))
        {
            self.input.as_ref().ok_or(HResult::E_INVALIDARG)?.close();
        }
        Ok(())
    }
}

/// The command of the parameters, and the caller's ends of its pipes.
fn command(
    parameters: &ProcessParameters,
    volume: Option<&Volume>,
) -> Result<(Command, Information, Option<Arc<Input>>), Fault> {
    let line = parameters.command_line.trim();
    let (program, rest) = match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').ok_or(HResult::E_INVALIDARG)?,
        None => line.split_once(' ').unwrap_or((line, "")),
    };
    if program.is_empty() {
        return Err(HResult::E_INVALIDARG.into());
    }
    let failed = |error: std::io::Error| {
        Fault::from(HResult::from_win32(
            error.raw_os_error().unwrap_or(87).cast_unsigned(),
        ))
    };
    let directory = &parameters.working_directory;
    let (program, directory) = match volume {
        Some(volume) => volume.locate(program, directory)?,
        None => (program.into(), directory.into()),
    };
    let mut command = Command::new(program);
    command.raw_arg(rest.trim_start()).envs(&parameters.environment);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if !directory.as_os_str().is_empty() {
        command.current_dir(directory);
    }
    let mut information = Information::default();
    let mut input = None;
    if parameters.create_std_in_pipe {
        let (callers, processes, relay) = pipes::input().map_err(failed)?;
        command.stdin(processes);
        information.pipes[0] = Some(callers);
        input = Some(relay);
    }
    if parameters.create_std_out_pipe {
        let (callers, processes) = pipes::output().map_err(failed)?;
        command.stdout(processes);
        information.pipes[1] = Some(callers);
    }
    // With a console the errors go with the output.
    if parameters.create_std_err_pipe && !parameters.emulate_console {
        let (callers, processes) = pipes::output().map_err(failed)?;
        command.stderr(processes);
        information.pipes[2] = Some(callers);
    }
    Ok((command, information, input))
}
