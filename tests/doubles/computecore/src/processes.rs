//! Processes: real ones, in the job of their system.

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use compute::state::Operation as Step;
use hcs::{
    Document, HResult, ProcessModifyOperation, ProcessModifyRequest, ProcessParameters, ProcessStatus,
    StdHandle,
};
use windows_sys::Win32::System::HostComputeSystem::HcsEventProcessExited;
use windows_sys::Win32::System::JobObjects::AssignProcessToJobObject;
use windows_sys::Win32::System::Threading::{
    GetExitCodeProcess, INFINITE, TerminateProcess, WaitForSingleObject,
};

use crate::console::{Console, Plan};
use crate::events::Listener;
use crate::operations::{Fault, Information};
use crate::pipes::{self, Input};
use crate::systems::System;
use crate::volume::Volume;
use crate::world::misuse;

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
    console: Option<Arc<Console>>,
    /// A console whose input ends would end.
    _input_of_console: Option<io::PipeWriter>,
    exit: Mutex<Option<u32>>,
    end: Condvar,
}

impl Process {
    /// Starts a process in a running system.
    pub(crate) fn start(system: &Arc<System>, text: &str) -> Result<(Arc<Self>, Information), Fault> {
        system.begin(Step::CreateProcess)?;
        let parameters = ProcessParameters::from_json(text)?;
        let Begin {
            mut command,
            mut information,
            input,
            plan,
            input_of_console,
        } = command(&parameters, system.volume.as_ref())?;
        let child = command.spawn().map_err(failed)?;
        // The process's ends of the pipes are its alone from here on.
        drop(command);
        let handle = child
            .as_handle()
            .try_clone_to_owned()
            .map_err(|_| HResult::E_OUTOFMEMORY)?;
        // SAFETY: both handles are open.
        unsafe { AssignProcessToJobObject(system.job.as_raw_handle(), handle.as_raw_handle()) };
        let (console, pid, handle) = match plan {
            None => (None, child.id(), handle),
            Some(plan) => {
                let (console, pid, handle) = plan.carry_out(child).map_err(failed)?;
                (Some(Arc::new(console)), pid, handle)
            }
        };
        if let (Some(console), Some(input)) = (&console, &input) {
            input.typed_at(console);
        }
        information.pid = pid;
        let process = Arc::new(Self {
            pid,
            handle,
            input,
            console,
            _input_of_console: input_of_console,
            exit: Mutex::default(),
            end: Condvar::new(),
        });
        system
            .processes
            .lock()
            .unwrap()
            .insert(process.pid, Arc::clone(&process));
        let (this, system_of_it) = (Arc::clone(&process), Arc::clone(system));
        std::thread::spawn(move || this.watch(&system_of_it));
        if system.begin(Step::CreateProcess).is_err() {
            // The end of the system came in between and may have missed it.
            process.kill(HResult::TERMINATED.bits());
        }
        Ok((process, information))
    }

    fn watch(&self, system: &System) {
        let mut code = 0;
        // SAFETY: the handle is open for as long as `self` lives, and `code` is a place for the answer.
        unsafe {
            WaitForSingleObject(self.handle.as_raw_handle(), INFINITE);
            GetExitCodeProcess(self.handle.as_raw_handle(), &raw mut code);
        }
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

    /// The input of the process ends with what was written so far.
    pub(crate) fn end_input(&self) {
        if let Some(input) = &self.input {
            input.close();
        }
    }

    /// Whether it sits at a console.
    pub(crate) fn has_console(&self) -> bool {
        self.console.is_some()
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
        match request.operation {
            Some(ProcessModifyOperation::ConsoleSize) => {
                let size = request.console_size.ok_or(HResult::INVALID_JSON)?;
                let console = self.console.as_ref().ok_or(HResult::INVALID_STATE)?;
                // One that ends at this moment has no size any more.
                drop(console.resize(size.height, size.width));
                Ok(())
            }
            Some(ProcessModifyOperation::CloseHandle) => {
                let handle = request.close_handle.and_then(|close| close.handle);
                if let StdHandle::StdIn | StdHandle::All = handle.ok_or(HResult::INVALID_JSON)? {
                    self.input.as_ref().ok_or(HResult::E_INVALIDARG)?.close();
                }
                Ok(())
            }
            None => Err(HResult::INVALID_JSON.into()),
        }
    }
}

/// A process that is about to begin.
struct Begin {
    command: Command,
    /// The caller's ends of its pipes.
    information: Information,
    input: Option<Arc<Input>>,
    plan: Option<Plan>,
    input_of_console: Option<io::PipeWriter>,
}

fn failed(error: io::Error) -> Fault {
    HResult::from_win32(error.raw_os_error().unwrap_or(87).cast_unsigned()).into()
}

/// What the documentation of the parameters says of consoles.
fn check_console(parameters: &ProcessParameters) -> Result<(), Fault> {
    const NAME: &str = "HcsCreateProcess";
    let size = parameters.console_size.len();
    if !matches!(size, 0 | 2) || (size == 2 && !parameters.emulate_console) {
        misuse(NAME, "ConsoleSize is height and width of an emulated console");
        return Err(HResult::E_INVALIDARG.into());
    }
    if parameters.emulate_console && (parameters.create_std_err_pipe || !parameters.create_std_out_pipe) {
        misuse(
            NAME,
            "an emulated console has one pipe for output, and none for errors",
        );
        return Err(HResult::E_INVALIDARG.into());
    }
    Ok(())
}

fn command(parameters: &ProcessParameters, volume: Option<&Volume>) -> Result<Begin, Fault> {
    check_console(parameters)?;
    let line = parameters.command_line.trim();
    let (program, rest) = match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').ok_or(HResult::E_INVALIDARG)?,
        None => line.split_once(' ').unwrap_or((line, "")),
    };
    if program.is_empty() {
        return Err(HResult::E_INVALIDARG.into());
    }
    let rest = rest.trim_start();
    let directory = &parameters.working_directory;
    let (program, directory) = match volume {
        Some(volume) => volume.locate(program, directory)?,
        None => (program.into(), directory.into()),
    };
    let (plan, mut command) = if parameters.emulate_console {
        let (plan, command) = Plan::new(&program, rest, &parameters.console_size).map_err(failed)?;
        (Some(plan), command)
    } else {
        let mut command = Command::new(program);
        command.raw_arg(rest);
        (None, command)
    };
    command
        .envs(&parameters.environment)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if !directory.as_os_str().is_empty() {
        command.current_dir(directory);
    }
    let mut information = Information::default();
    let (mut input, mut input_of_console) = (None, None);
    if parameters.create_std_in_pipe || plan.is_some() {
        let (processes, to_process) = io::pipe().map_err(failed)?;
        command.stdin(processes);
        if plan.is_some() {
            input_of_console = Some(to_process.try_clone().map_err(failed)?);
        }
        if parameters.create_std_in_pipe {
            let (callers, relay) = pipes::input(to_process).map_err(failed)?;
            information.pipes[0] = Some(callers);
            input = Some(relay);
        }
    }
    if parameters.create_std_out_pipe {
        let (callers, processes) = pipes::output().map_err(failed)?;
        command.stdout(processes);
        information.pipes[1] = Some(callers);
    }
    if parameters.create_std_err_pipe {
        let (callers, processes) = pipes::output().map_err(failed)?;
        command.stderr(processes);
        information.pipes[2] = Some(callers);
    }
    Ok(Begin {
        command,
        information,
        input,
        plan,
        input_of_console,
    })
}
