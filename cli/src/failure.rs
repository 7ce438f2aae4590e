//! How a verb fails, and how that is told.
//!
//! One line `ctr-like: MESSAGE`, the causes below it, then the hints. The wording comes from the daemon, where it is an
//! API; an unreachable daemon is `error during connect:`, which orchestrators look for.

use std::io;

use api::{Code, Status};

use crate::render;

/// The end of a verb: its exit code, or why it failed.
pub(crate) type Outcome = Result<i32, Failure>;

/// The exit code of flags that make no sense, and of `run` that failed in the engine.
pub(crate) const ENGINE: i32 = 125;

/// The exit code of a template that does not parse.
pub(crate) const TEMPLATE: i32 = 64;

/// Why a verb failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: i32,
    /// `None` when everything was said already.
    pub(crate) status: Option<Box<Status>>,
}

impl Failure {
    /// A failure of the command line itself.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Status::new(Code::Unknown, message).into()
    }

    /// A flag that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(message).exit(ENGINE)
    }

    /// Nothing more to say.
    pub(crate) fn silent(code: i32) -> Self {
        Self { code, status: None }
    }

    /// The same with another exit code.
    pub(crate) fn exit(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    /// The same with what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Some(status) = &mut self.status {
            status.hints.push(hint.into());
        }
        self
    }

    /// A file or stream of the user failed.
    pub(crate) fn io(doing: impl Into<String>, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            // Whoever read our output has gone; there is nobody to tell.
            return Self::silent(1);
        }
        Status::new(Code::Unknown, doing).caused_by(error).into()
    }

    /// The exit code of a process that could not be started, as docker has it.
    pub(crate) fn of_start(status: Status, otherwise: i32) -> Self {
        let command = status
            .resource
            .as_ref()
            .is_some_and(|resource| resource.kind == "command");
        let code = match status.code {
            Code::NotFound if command => 127,
            _ if command => 126,
            _ => otherwise,
        };
        Self::from(status).exit(code)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self {
            code: 1,
            status: Some(Box::new(status)),
        }
    }
}

/// Tells a failure and gives the exit code.
pub(crate) fn report(outcome: Outcome) -> i32 {
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            if let Some(status) = &failure.status {
                for line in lines(status) {
                    render::note(&line);
                }
            }
            failure.code
        }
    }
}

/// What is printed about a failure.
pub(crate) fn lines(status: &Status) -> Vec<String> {
    let mut lines = vec![format!("ctr-like: {}", status.message)];
    // A cause that only repeats the line above says nothing.
    let mut above = status.message.as_str();
    for cause in &status.causes {
        if !above.contains(cause.as_str()) {
            lines.push(format!("  caused by: {cause}"));
        }
        above = cause;
    }
    if let Some(hcs) = &status.hcs {
        let name = hcs
            .name
            .as_deref()
            .map_or_else(String::new, |name| format!(" ({name})"));
        lines.push(format!(
            "  compute service: {} failed with {}{name}",
            hcs.operation, hcs.hresult
        ));
    }
    lines.extend(status.hints.iter().map(|hint| format!("hint: {hint}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_is_told_with_causes_and_hints() {
        let status = Status::not_found("No such image: x")
            .cause("manifest unknown")
            .cause("manifest unknown")
            .cause("HTTP 404")
            .hint("ctr-like pull x");
        insta::assert_snapshot!(lines(&status).join("\n"), @r"
        ctr-like: No such image: x
          caused by: manifest unknown
          caused by: HTTP 404
        hint: ctr-like pull x
        ");
    }

    #[test]
    fn start_that_failed_for_its_command_has_dockers_codes() {
        let status = |code| Status::new(code, "x").about("command", "nope");
        assert_eq!(Failure::of_start(status(Code::NotFound), 125).code, 127);
        assert_eq!(Failure::of_start(status(Code::PermissionDenied), 125).code, 126);
        assert_eq!(Failure::of_start(Status::internal("x"), 125).code, 125);
    }
}
