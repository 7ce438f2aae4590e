//! What errors of the rooms below mean to a user.
//!
//! One function per room. The meaning is decided here, once; the texts from below stay in the cause chain.

use image::ImageError;
use snapshot::SnapshotError;
use store::StoreError;
use task::{ErrorKind, TaskError};

use crate::error::{Error, Kind};
use crate::record::ContainerRecord;

/// An error of `image`. Its own text is the message, because clients match on its wording.
pub(crate) fn image(error: ImageError) -> Error {
    let kind = match &error {
        ImageError::InvalidReference { .. }
        | ImageError::InvalidPlatform { .. }
        | ImageError::InvalidDigest { .. }
        | ImageError::Ambiguous { .. }
        | ImageError::Archive { .. }
        | ImageError::ManifestInvalid { .. } => Kind::InvalidArgument,
        ImageError::NotFound { .. }
        | ImageError::ManifestUnknown { .. }
        | ImageError::PlatformMismatch { .. } => Kind::NotFound,
        ImageError::Unauthorized { .. } => Kind::Unauthenticated,
        ImageError::DigestMismatch { .. } | ImageError::SizeMismatch { .. } => Kind::DataLoss,
        ImageError::Schema1 { .. } | ImageError::Unsupported { .. } => Kind::Unimplemented,
        ImageError::LimitExceeded { .. } => Kind::ResourceExhausted,
        ImageError::Conflict { .. } | ImageError::Incompatible { .. } => Kind::FailedPrecondition,
        ImageError::Registry {
            status: 429 | 500..=599,
            ..
        }
        | ImageError::Transport { .. } => Kind::Unavailable,
        ImageError::RefusedRedirect { .. } => Kind::PermissionDenied,
        ImageError::Unpack { source, .. } => unpack_kind(source.as_ref()),
        ImageError::Store(error) => store_kind(error),
        _ => Kind::Internal,
    };
    let hint = error.hint();
    let message = error.to_string();
    let subject = match &error {
        ImageError::NotFound { name } => Some(name.clone()),
        ImageError::ManifestUnknown { reference }
        | ImageError::PlatformMismatch { reference, .. }
        | ImageError::Incompatible { reference, .. } => Some(reference.clone()),
        _ => None,
    };
    let mut converted = with_causes(Error::new(kind, message), error);
    if let Some(hint) = hint {
        converted = converted.hint(hint);
    }
    match subject {
        Some(name) => converted.about("image", name),
        None => converted,
    }
}

fn unpack_kind(error: &(dyn std::error::Error + 'static)) -> Kind {
    match error.downcast_ref::<SnapshotError>() {
        Some(error) => snapshot_kind(error),
        None => Kind::Internal,
    }
}

/// An error of `store`.
pub(crate) fn store(error: StoreError) -> Error {
    let message = error.to_string();
    with_causes(Error::new(store_kind(&error), message), error)
}

fn store_kind(error: &StoreError) -> Kind {
    match error {
        StoreError::NotFound { .. } => Kind::NotFound,
        StoreError::AlreadyExists { .. } => Kind::AlreadyExists,
        StoreError::TooLarge { .. } => Kind::ResourceExhausted,
        StoreError::Locked { .. } | StoreError::UnsafeRoot { .. } | StoreError::NewerFormat { .. } => {
            Kind::FailedPrecondition
        }
        StoreError::Closed => Kind::Unavailable,
        other if other.is_no_space() => Kind::ResourceExhausted,
        other if other.is_data_loss() => Kind::DataLoss,
        _ => Kind::Internal,
    }
}

/// An error of `snapshot`.
pub(crate) fn snapshot(error: SnapshotError) -> Error {
    let message = error.to_string();
    with_causes(Error::new(snapshot_kind(&error), message), error)
}

fn snapshot_kind(error: &SnapshotError) -> Kind {
    match error {
        SnapshotError::Store(error) => store_kind(error),
        _ => Kind::Internal,
    }
}

/// An error of `task` about a container that runs.
pub(crate) fn task(error: TaskError, container: &str) -> Error {
    let kind = match error.kind {
        ErrorKind::NotFound => Kind::NotFound,
        ErrorKind::AlreadyExists => Kind::AlreadyExists,
        ErrorKind::InvalidState | ErrorKind::SandboxGone => Kind::FailedPrecondition,
        ErrorKind::InvalidArgument => Kind::InvalidArgument,
        ErrorKind::ResourceExhausted => Kind::ResourceExhausted,
        ErrorKind::Unsupported => Kind::Unimplemented,
        ErrorKind::Timeout => Kind::DeadlineExceeded,
        _ => Kind::Internal,
    };
    let message = error.message.clone();
    let network = error.kind == ErrorKind::Network;
    let error = with_causes(Error::new(kind, message), error).about("container", container);
    match network {
        true => error.hint(crate::networks::LOOK_AFTER),
        false => error,
    }
}

/// An error of `task` while a container starts.
pub(crate) fn start(error: TaskError, record: &ContainerRecord) -> Error {
    command(error, &record.name, record.args.first())
}

/// An error of `task` while a program starts. Whether the program is missing or cannot be executed decides the exit code
/// that clients report (127 or 126), so the agent's text, which carries the kernel's, is looked at here and only here.
pub(crate) fn command(error: TaskError, container: &str, program: Option<&String>) -> Error {
    let text = format!("{}: {}", error.message, causes_of(&error)).to_lowercase();
    let missing = [
        "executable file not found",
        "no such file or directory",
        "not found in $path",
    ];
    let forbidden = [
        "permission denied",
        "exec format error",
        "is a directory",
        "not executable",
    ];
    let about_program = error.kind == ErrorKind::Guest && program.is_some();
    let of_windows = win32_error(&error).filter(|_| error.kind == ErrorKind::Compute && program.is_some());
    let kind = match of_windows {
        Some(FILE_NOT_FOUND | PATH_NOT_FOUND) => Kind::NotFound,
        Some(ACCESS_DENIED | BAD_EXE_FORMAT | EXE_MACHINE_TYPE_MISMATCH) => Kind::PermissionDenied,
        _ if about_program && missing.iter().any(|words| text.contains(words)) => Kind::NotFound,
        _ if about_program && forbidden.iter().any(|words| text.contains(words)) => Kind::PermissionDenied,
        _ => return task(error, container),
    };
    let program = program.map_or("", String::as_str);
    let why = match kind {
        Kind::NotFound => "executable file not found in the container",
        _ => "cannot be executed",
    };
    let hint = match kind {
        Kind::NotFound => "check the command, the image's PATH and, for a script, its interpreter",
        _ => "check the file's permissions and its architecture",
    };
    with_causes(
        Error::new(kind, format!("failed to start {program:?}: {why}")),
        error,
    )
    .about("command", program)
    .hint(hint)
}

const FILE_NOT_FOUND: u32 = 2;
const PATH_NOT_FOUND: u32 = 3;
const ACCESS_DENIED: u32 = 5;
const BAD_EXE_FORMAT: u32 = 193;
const EXE_MACHINE_TYPE_MISMATCH: u32 = 216;

/// The error of Windows that is inside an HRESULT.
fn win32_error(error: &TaskError) -> Option<u32> {
    const FACILITY: u32 = 0x8007_0000;
    let bits = error.hresult?.cast_unsigned();
    (bits & 0xFFFF_0000 == FACILITY).then_some(bits & 0xFFFF)
}

fn causes_of(error: &TaskError) -> String {
    let mut text = String::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Keeps what `error` stands on; its own text is the message already.
fn with_causes(converted: Error, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    converted.because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_windows_tell_a_missing_program_from_one_that_cannot_be_executed() {
        let program = "tool.exe".to_owned();
        let failed = |code: u32| {
            let mut error = TaskError::new(ErrorKind::Compute, "create process failed");
            error.hresult = Some(code.cast_signed());
            command(error, "box", Some(&program))
        };
        assert_eq!(failed(0x8007_0002).kind(), Kind::NotFound);
        assert_eq!(failed(0x8007_00C1).kind(), Kind::PermissionDenied);
        assert_eq!(failed(0x8007_0002).subject().unwrap().kind, "command");
        assert_eq!(failed(0x8037_0110).kind(), Kind::Internal);
    }
}
