//! Processes of a Windows container: parameters and signals.

use std::collections::BTreeMap;

use hcs::{ProcessParameters, SignalProcessOptions, WindowsSignal, command_line};
use serde_json::Value;

use super::spec::{self, Process, invalid};
use crate::Result;

const DIRECTORY: &str = r"C:\";

/// The parameters of a process: OCI `process`, and which streams it has. A terminal has one output.
///
/// # Errors
/// When it names no program.
pub fn process(oci_process: &Value, stdin: bool, terminal: bool, output: bool) -> Result<ProcessParameters> {
    let process: Process = spec::read("process", oci_process)?;
    let line = if process.command_line.is_empty() {
        command_line::join(&process.args)
    } else {
        process.command_line
    };
    if line.is_empty() {
        return Err(invalid("process: no command"));
    }
    let size = process.console_size.filter(|_| terminal);
    Ok(ProcessParameters {
        command_line: line,
        user: process.user.username,
        working_directory: if process.cwd.is_empty() {
            DIRECTORY.to_owned()
        } else {
            process.cwd
        },
        environment: environment(&process.env),
        emulate_console: terminal,
        create_std_in_pipe: stdin,
        create_std_out_pipe: output || terminal,
        create_std_err_pipe: output && !terminal,
        console_size: size.map_or_else(Vec::new, |size| vec![size.height, size.width]),
        ..ProcessParameters::default()
    })
}

/// `NAME=value` as a map. Names are the same in any case, the last one counts; an empty value is no variable.
fn environment(pairs: &[String]) -> BTreeMap<String, String> {
    let mut known: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    for (name, value) in pairs.iter().filter_map(|pair| pair.split_once('=')) {
        // A name that is empty here belongs to the current directories of drives, `=C:=C:\`, which are not inherited.
        if !name.is_empty() {
            known.insert(name.to_uppercase(), (name, value));
        }
    }
    known
        .into_values()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// What a signal does to a Windows process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// It is told something and may act on it.
    Signal(SignalProcessOptions),
    /// It is ended.
    Terminate,
}

impl Order {
    const fn tell(signal: WindowsSignal) -> Self {
        Self::Signal(SignalProcessOptions {
            signal: Some(hcs::Signal::Windows(signal)),
        })
    }
}

/// What a signal by number does: the console events of Windows by their own numbers, 15 for a shutdown and 9 for the end.
///
/// # Errors
/// When Windows has nothing for the number.
pub fn signal(number: i32) -> Result<Order> {
    Ok(match number {
        0 => Order::tell(WindowsSignal::CtrlC),
        1 => Order::tell(WindowsSignal::CtrlBreak),
        2 => Order::tell(WindowsSignal::CtrlClose),
        5 => Order::tell(WindowsSignal::CtrlLogOff),
        6 | 15 => Order::tell(WindowsSignal::CtrlShutdown),
        9 => Order::Terminate,
        _ => return Err(unknown(number)),
    })
}

/// What a signal by name does, in any case and with or without `SIG`; without a name it is a shutdown.
///
/// # Errors
/// When Windows has nothing for the name.
pub fn signal_named(name: &str) -> Result<Order> {
    let upper = name.to_ascii_uppercase();
    Ok(match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "CTRLC" => Order::tell(WindowsSignal::CtrlC),
        "CTRLBREAK" => Order::tell(WindowsSignal::CtrlBreak),
        "CTRLCLOSE" => Order::tell(WindowsSignal::CtrlClose),
        "CTRLLOGOFF" => Order::tell(WindowsSignal::CtrlLogOff),
        "" | "CTRLSHUTDOWN" | "TERM" => Order::tell(WindowsSignal::CtrlShutdown),
        "KILL" => Order::Terminate,
        _ => return Err(unknown(name)),
    })
}

fn unknown(signal: impl std::fmt::Display) -> crate::TaskError {
    crate::TaskError::new(
        crate::ErrorKind::InvalidArgument,
        format!(
            "signal {signal} does not exist on Windows: there are CTRLC, CTRLBREAK, CTRLCLOSE, CTRLLOGOFF, \
             CTRLSHUTDOWN (TERM) and KILL"
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_the_environment_are_the_same_in_any_case() {
        let process = process(
            &json!({"args": ["x"], "env": ["Path=C:\\old", "PATH=C:\\new", "A=1", "a=", "=C:=C:\\", "junk"]}),
            false,
            false,
            false,
        )
        .unwrap();
        let expected = BTreeMap::from([("PATH".to_owned(), "C:\\new".to_owned())]);
        assert_eq!(process.environment, expected);
    }

    #[test]
    fn a_command_line_is_passed_as_it_stands_and_arguments_are_quoted() {
        let raw = json!({"commandLine": r#"cmd /S /C echo "a b""#, "args": ["ignored"]});
        assert_eq!(
            process(&raw, false, false, true).unwrap().command_line,
            r#"cmd /S /C echo "a b""#
        );
        let list = json!({"args": [r"C:\Program Files\x.exe", "a b", ""]});
        assert_eq!(
            process(&list, false, false, true).unwrap().command_line,
            r#""C:\Program Files\x.exe" "a b" """#
        );
        for nothing in [json!({}), json!({"args": []}), json!({"args": "x"}), json!([])] {
            assert!(process(&nothing, false, false, true).is_err(), "{nothing}");
        }
    }

    #[test]
    fn a_console_has_a_size_only_with_a_terminal() {
        let sized = json!({"args": ["x"], "consoleSize": {"height": 24, "width": 80}});
        assert!(
            process(&sized, true, false, true)
                .unwrap()
                .console_size
                .is_empty()
        );
        let terminal = process(&sized, true, true, true).unwrap();
        assert_eq!(terminal.console_size, [24, 80]);
        assert!(terminal.create_std_out_pipe && !terminal.create_std_err_pipe);
    }

    #[test]
    fn signals_that_windows_does_not_have_are_refused_with_those_it_has() {
        for number in [3, 10, 64, -1] {
            let error = signal(number).unwrap_err();
            assert!(error.to_string().contains("CTRLBREAK"), "{error}");
        }
        assert!(signal_named("USR1").is_err());
        assert_eq!(signal_named("sigkill").unwrap(), Order::Terminate);
        assert_eq!(signal_named("CtrlLogOff").unwrap(), signal(5).unwrap());
    }
}
