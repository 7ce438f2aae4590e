//! Work on the files of a task, done by the guest agent's tools.
//!
//! The engine says what ([`FileWork`]) and where ([`Place`]); paths of the guest are known here alone. A tool is a process
//! beside the container: it has streams and an exit like an exec, and is waited for, signalled and forgotten as one.
//!
//! A tool that fails exits with another code than 0 and ends its errors with one JSON object, which [`failure`] reads.
//! What it says comes from a guest and is not to be trusted: it is cut and stripped of control characters.

use serde::{Deserialize, Serialize};

use crate::error::{ErrorKind, TaskError};

/// Bytes of errors that are worth keeping: the last line is what counts.
pub const ERRORS_KEPT: usize = 16 << 10;
/// Warnings of one tool.
const WARNINGS: usize = 16;
/// Characters of a message that a guest wrote.
const MESSAGE: usize = 1024;

/// What a tool works on, and what it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesSpec {
    /// Where paths begin.
    pub place: Place,
    /// What to do.
    pub work: FileWork,
}

/// Where paths begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The root of the container, as its processes see it while there are any.
    Root,
    /// A share of the task, by its [`crate::Share::mount_index`].
    Share(usize),
}

/// What to do. Paths are absolute; symbolic links in them never lead out of the place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileWork {
    /// Writes one line of JSON about a path.
    Stat {
        /// Which.
        path: String,
    },
    /// Writes a tar of a path.
    Archive {
        /// Which.
        path: String,
        /// If it is a symbolic link, its target.
        follow: bool,
    },
    /// Reads a tar into a directory that exists.
    Extract {
        /// Which.
        path: String,
        /// Gives everything to this user and group.
        owner: Option<(u32, u32)>,
        /// A directory may take the place of something else, and the reverse.
        replace: bool,
    },
    /// Writes a tar of the whole root, without what is mounted in it.
    Export,
    /// Writes a line of JSON for each path that differs from the layers.
    Changes,
    /// Writes the tar of a layer with what differs from the layers.
    Layer {
        /// Whether the container's processes stand still meanwhile. A guest that cannot do that refuses.
        freeze: bool,
    },
    /// Writes a line of JSON for each process of the container, which must run. Of a Windows container see
    /// [`crate::Sandbox::stats`].
    Processes,
}

impl FileWork {
    /// Whether it compares the container with its layers.
    pub(crate) fn compares(&self) -> bool {
        matches!(self, Self::Changes | Self::Layer { .. })
    }
}

/// What the last line of a tool that failed says.
#[derive(Debug, Deserialize)]
struct Said {
    code: String,
    message: String,
}

/// Why a tool failed, from its exit code and the end of its errors.
#[must_use]
pub fn failure(code: i32, errors: &[u8]) -> TaskError {
    let text = String::from_utf8_lossy(errors);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    let said = last.and_then(|line| serde_json::from_str::<Said>(line).ok());
    if let Some(Said { code, message }) = said {
        let kind = match code.as_str() {
            "NOT_FOUND" => ErrorKind::NotFound,
            "INVALID_ARGUMENT" => ErrorKind::InvalidArgument,
            "FAILED_PRECONDITION" => ErrorKind::InvalidState,
            _ => ErrorKind::Guest,
        };
        return TaskError::new(kind, plain(&message));
    }
    let rest = last.map_or_else(String::new, |line| format!(": {}", plain(line)));
    TaskError::new(
        ErrorKind::Guest,
        format!("file tool of the guest ended with code {code}{rest}"),
    )
}

/// What a tool that succeeded wants the user to know.
#[must_use]
pub fn warnings(errors: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Told {
        warnings: Vec<String>,
    }
    let text = String::from_utf8_lossy(errors);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    let told = last.and_then(|line| serde_json::from_str::<Told>(line).ok());
    let warnings = told.into_iter().flat_map(|told| told.warnings);
    warnings.take(WARNINGS).map(|text| plain(&text)).collect()
}

fn plain(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(MESSAGE)
        .collect()
}

/// A guest that does not know the tools says that there is no such program.
pub(crate) fn without_tools(error: TaskError) -> TaskError {
    if error.kind == ErrorKind::Guest && error.message.contains("not found") {
        return TaskError::new(
            ErrorKind::Unsupported,
            "the guest agent has no file tools: only ctr-like's own agent can copy, diff, export, commit and list processes",
        )
        .because(error);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_tool_says_what_its_failure_means() {
        let error = failure(
            1,
            b"a warning\n{\"code\":\"NOT_FOUND\",\"message\":\"no /x\\u001b[2J\"}\n\n",
        );
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::NotFound, "no /x [2J")
        );
        let error = failure(137, b"half a line");
        assert_eq!(error.kind, ErrorKind::Guest);
        assert_eq!(
            error.message,
            "file tool of the guest ended with code 137: half a line"
        );
        assert!(failure(1, b"\xff\xfe").message.contains("code 1"));
    }

    #[test]
    fn an_agent_without_tools_is_named_as_such() {
        let missing = "exec: \"ctr-like-files\": executable file not found in $PATH";
        let error = without_tools(TaskError::new(ErrorKind::Guest, missing));
        assert_eq!(error.kind, ErrorKind::Unsupported);
        let other = without_tools(TaskError::new(ErrorKind::Guest, "out of memory"));
        assert_eq!(other.kind, ErrorKind::Guest);
    }
}
