//! Processes of a container: parameters, and the handle of the compute seam.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use compute::state::check_process;
use compute::{ComputeError, ExitStatus, Process, Result, Stdio};
use hcs::{
    Document, HResult, ProcessModifyOperation, ProcessModifyRequest, ProcessParameters, ProcessStatus,
    Signal, SignalProcessOptions, StdHandle, WindowsSignal,
};

use super::container::{Container, Create, Record, Stage};
use super::streams::{Input, Streams};
use crate::failure::{Failure, read};

/// `ERROR_PROCESS_ABORTED`, the exit code of a process that was terminated.
const ABORTED: u32 = 1067;
/// The size of a console whose document names none: height and width.
const USUAL_SIZE: (u16, u16) = (30, 120);
/// The account that may do everything.
const ADMINISTRATOR: &str = "ContainerAdministrator";
/// The other account.
const USER: &str = "ContainerUser";

/// A handle of a process.
pub(crate) struct WineProcess {
    system: String,
    container: Arc<Container>,
    record: Arc<Record>,
    stdio: Mutex<Stdio>,
    input: Option<Input>,
    console: bool,
}

/// Starts a process. Blocks until it runs; needs a runtime.
pub(crate) fn create(
    system: &str,
    container: &Arc<Container>,
    parameters: &str,
) -> std::result::Result<WineProcess, Failure> {
    let parameters: ProcessParameters = read(parameters)?;
    check(&parameters)?;
    let environment = environment(&parameters)?;
    let directory = match parameters.working_directory.as_str() {
        "" => "C:\\",
        directory => directory,
    };
    let console = parameters.emulate_console;
    let streams = if console {
        let size = match parameters.console_size[..] {
            [height, width] if height > 0 && width > 0 => (height, width),
            _ => USUAL_SIZE,
        };
        Streams::terminal(parameters.create_std_in_pipe, size)
    } else {
        Streams::pipes(
            parameters.create_std_in_pipe,
            parameters.create_std_out_pipe,
            parameters.create_std_err_pipe,
        )
    };
    let Streams { theirs, ours, input } =
        streams.map_err(|error| Failure::io("cannot make the standard streams", error))?;
    let create = Create {
        number: 0,
        application: &parameters.application_name,
        command_line: &parameters.command_line,
        directory,
        environment: &environment,
        console,
    };
    let record = container.create(&create, &theirs)?;
    Ok(WineProcess {
        system: system.to_owned(),
        container: Arc::clone(container),
        record,
        stdio: Mutex::new(ours),
        input,
        console,
    })
}

/// Opens a running process. It carries no streams.
pub(crate) fn open(
    system: &str,
    container: &Arc<Container>,
    pid: u32,
) -> std::result::Result<WineProcess, Failure> {
    let record = container.process(pid).ok_or_else(|| {
        Failure::new(
            HResult::ELEMENT_NOT_FOUND,
            format!("there is no process {pid} that was created through this service"),
        )
    })?;
    Ok(WineProcess {
        system: system.to_owned(),
        container: Arc::clone(container),
        record,
        stdio: Mutex::default(),
        input: None,
        console: true,
    })
}

fn check(parameters: &ProcessParameters) -> std::result::Result<(), Failure> {
    if parameters.command_line.trim().is_empty() && parameters.application_name.is_empty() {
        return Err(Failure::invalid("CommandLine is required"));
    }
    let refused = [
        (
            parameters.oci_process.is_some(),
            "OciProcess: it is for Linux containers, use CommandLine",
        ),
        (
            !parameters.command_args.is_empty(),
            "CommandArgs: it is for Linux containers, use CommandLine",
        ),
        (
            parameters.restricted_token,
            "RestrictedToken: Wine has one token for everybody",
        ),
        (
            parameters.use_existing_login,
            "UseExistingLogin: Wine has no logons",
        ),
        (
            parameters.use_legacy_console,
            "UseLegacyConsole: Wine has one kind of console",
        ),
    ];
    if let Some((_, why)) = refused.iter().find(|(given, _)| *given) {
        return Err(Failure::unsupported(format!("ProcessParameters.{why}")));
    }
    if !matches!(parameters.console_size.len(), 0 | 2) {
        return Err(Failure::invalid("ConsoleSize must be height and width"));
    }
    if parameters.emulate_console && !parameters.create_std_out_pipe {
        return Err(Failure::invalid(
            "EmulateConsole needs CreateStdOutPipe: a console that nobody reads would stop its process",
        ));
    }
    let account = parameters.user.rsplit('\\').next().unwrap_or_default();
    let known = ["", ADMINISTRATOR, USER];
    if !known.iter().any(|known| account.eq_ignore_ascii_case(known)) {
        return Err(Failure::unsupported(format!(
            "User {:?} is not supported here: Wine has no accounts, use {ADMINISTRATOR} or {USER}",
            parameters.user
        )));
    }
    Ok(())
}

/// What is set over the environment of the system, as `NAME=VALUE`.
fn environment(parameters: &ProcessParameters) -> std::result::Result<Vec<String>, Failure> {
    let mut variables = Vec::new();
    let account = parameters.user.rsplit('\\').next().unwrap_or_default();
    let account = if account.eq_ignore_ascii_case(USER) {
        USER
    } else {
        ADMINISTRATOR
    };
    let home = format!("C:\\Users\\{account}");
    for (name, value) in [
        ("USERNAME", account.to_owned()),
        ("WINEUSERNAME", account.to_owned()),
        ("USERPROFILE", home.clone()),
        ("HOMEPATH", format!("\\Users\\{account}")),
        ("APPDATA", format!("{home}\\AppData\\Roaming")),
        ("LOCALAPPDATA", format!("{home}\\AppData\\Local")),
        ("TEMP", format!("{home}\\AppData\\Local\\Temp")),
        ("TMP", format!("{home}\\AppData\\Local\\Temp")),
    ] {
        variables.push(format!("{name}={value}"));
    }
    for (name, value) in &parameters.environment {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(Failure::invalid(format!(
                "Environment: {name:?} cannot be a variable"
            )));
        }
        variables.push(format!("{name}={value}"));
    }
    Ok(variables)
}

impl WineProcess {
    fn failed(&self, operation: &'static str, failure: Failure) -> ComputeError {
        failure.into_error(operation, &self.system)
    }

    /// Fails when the process has ended.
    fn alive(&self) -> std::result::Result<(), Failure> {
        check_process(self.record.stage() != Stage::Running)
            .map_err(|code| Failure::new(code, format!("process {} has ended", self.record.pid())))
    }

    fn tell(&self, operation: &'static str, line: String) -> Result<()> {
        self.alive()
            .and_then(|()| self.container.tell(&self.record, line))
            .map_err(|failure| self.failed(operation, failure))
    }

    fn close_handle(&self, handle: Option<StdHandle>) -> std::result::Result<(), Failure> {
        match handle {
            Some(StdHandle::StdIn) => {
                if let Some(input) = &self.input {
                    input.close();
                }
                Ok(())
            }
            Some(handle) => Err(Failure::unsupported(format!(
                "CloseHandle of {handle} is not supported here: drop your end of the pipe"
            ))),
            None => Err(Failure::json("CloseHandle.Handle is required")),
        }
    }
}

/// The number of a console event.
fn event(signal: WindowsSignal) -> u32 {
    match signal {
        WindowsSignal::CtrlC => 0,
        WindowsSignal::CtrlBreak => 1,
        WindowsSignal::CtrlClose => 2,
        WindowsSignal::CtrlLogOff => 5,
        WindowsSignal::CtrlShutdown => 6,
    }
}

#[async_trait]
impl Process for WineProcess {
    fn pid(&self) -> u32 {
        self.record.pid()
    }

    fn take_stdio(&mut self) -> Stdio {
        std::mem::take(self.stdio.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    async fn modify(&self, request: &str) -> Result<()> {
        const OPERATION: &str = "modify process";
        let change = || -> std::result::Result<Option<String>, Failure> {
            let request: ProcessModifyRequest = read(request)?;
            self.alive()?;
            match request.operation {
                Some(ProcessModifyOperation::ConsoleSize) => {
                    let size = request
                        .console_size
                        .ok_or_else(|| Failure::json("ConsoleSize is required"))?;
                    if !self.console {
                        return Err(Failure::new(
                            HResult::INVALID_STATE,
                            "the process has no console, start it with EmulateConsole",
                        ));
                    }
                    Ok(Some(format!("resize {} {}", size.height, size.width)))
                }
                Some(ProcessModifyOperation::CloseHandle) => {
                    let close = request
                        .close_handle
                        .ok_or_else(|| Failure::json("CloseHandle is required"))?;
                    self.close_handle(close.handle).map(|()| None)
                }
                None => Err(Failure::json("Operation is required")),
            }
        };
        match change().map_err(|failure| self.failed(OPERATION, failure))? {
            Some(line) => self.tell(OPERATION, line),
            None => Ok(()),
        }
    }

    async fn signal(&self, options: &str) -> Result<()> {
        const OPERATION: &str = "signal process";
        let options = SignalProcessOptions::parse(options)
            .map_err(|invalid| self.failed(OPERATION, Failure::json(invalid.to_string())))?;
        let signal = match options.signal {
            None => WindowsSignal::CtrlC,
            Some(Signal::Windows(signal)) => signal,
            Some(Signal::Linux(number)) => {
                return Err(self.failed(
                    OPERATION,
                    Failure::invalid(format!(
                        "{number} is a signal of Linux: a Windows process takes CtrlC, CtrlBreak, CtrlClose, CtrlLogOff and CtrlShutdown"
                    )),
                ));
            }
        };
        self.tell(OPERATION, format!("signal {}", event(signal)))
    }

    async fn terminate(&self) -> Result<()> {
        self.tell("terminate process", format!("kill {ABORTED}"))
    }

    async fn properties(&self) -> Result<String> {
        let (exited, exit_code, last_wait_result) = match self.record.stage() {
            Stage::Exited(code) => (true, code, 0),
            Stage::Lost | Stage::Failed(_) => (true, 0, HResult::TERMINATED.as_i32()),
            Stage::Asked | Stage::Running => (false, 0, 0),
        };
        let status = ProcessStatus {
            process_id: self.record.pid(),
            exited,
            exit_code,
            last_wait_result,
        };
        Ok(status.to_json())
    }

    async fn exited(&self) -> Result<ExitStatus> {
        let mut watch = self.record.watch();
        let stage = watch
            .wait_for(|stage| !matches!(stage, Stage::Asked | Stage::Running))
            .await
            .map(|stage| *stage);
        match stage {
            Ok(Stage::Exited(code)) => Ok(ExitStatus { code }),
            _ => Err(self.failed(
                "wait for process",
                Failure::new(
                    HResult::TERMINATED,
                    format!(
                        "process {} was lost: its container ended before it did",
                        self.record.pid()
                    ),
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameters(fields: serde_json::Value) -> ProcessParameters {
        let mut all = json!({ "CommandLine": "cmd", "CreateStdOutPipe": true });
        for (name, value) in fields.as_object().unwrap() {
            all[name] = value.clone();
        }
        ProcessParameters::from_value(&all).unwrap()
    }

    #[test]
    fn what_is_not_for_windows_under_wine_is_refused() {
        for (fields, code) in [
            (json!({ "CommandLine": " " }), HResult::E_INVALIDARG),
            (json!({ "CommandArgs": ["a"] }), HResult::NOT_SUPPORTED),
            (json!({ "OciProcess": {} }), HResult::NOT_SUPPORTED),
            (json!({ "User": "DOMAIN\\somebody" }), HResult::NOT_SUPPORTED),
            (json!({ "ConsoleSize": [1] }), HResult::E_INVALIDARG),
            (
                json!({ "EmulateConsole": true, "CreateStdOutPipe": false }),
                HResult::E_INVALIDARG,
            ),
        ] {
            assert_eq!(
                check(&parameters(fields.clone())).unwrap_err().code,
                code,
                "{fields}"
            );
        }
        for user in ["", "containeruser", r"User Manager\ContainerAdministrator"] {
            check(&parameters(json!({ "User": user }))).unwrap();
        }
    }

    #[test]
    fn the_account_names_its_directories_and_the_document_wins() {
        let asked = parameters(json!({ "User": "ContainerUser", "Environment": { "temp": "C:\\t" } }));
        let variables = environment(&asked).unwrap();
        assert!(variables.contains(&"USERPROFILE=C:\\Users\\ContainerUser".to_owned()));
        assert_eq!(variables.last().map(String::as_str), Some("temp=C:\\t"));
        assert!(environment(&parameters(json!({ "Environment": { "a=b": "" } }))).is_err());
    }
}
