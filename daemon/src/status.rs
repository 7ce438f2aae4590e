//! From the domain's errors to the wire's status: the only place that knows both.

use api::{Code, Status};
use engine::{Error, Kind};

/// One to one; the compiler asks for a new line when a kind is added.
pub(crate) fn status(error: &Error) -> Status {
    let code = match error.kind() {
        Kind::InvalidArgument => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::FailedPrecondition => Code::FailedPrecondition,
        Kind::Aborted => Code::Aborted,
        Kind::Unavailable => Code::Unavailable,
        Kind::ResourceExhausted => Code::ResourceExhausted,
        Kind::PermissionDenied => Code::PermissionDenied,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::Unimplemented => Code::Unimplemented,
        Kind::Cancelled => Code::Cancelled,
        Kind::DeadlineExceeded => Code::DeadlineExceeded,
        Kind::DataLoss => Code::DataLoss,
        Kind::Internal => Code::Internal,
    };
    let mut status = Status::new(code, error.to_string());
    status.hints = error.hints().to_vec();
    status.causes = error.causes();
    match error.subject() {
        Some(subject) => status.about(subject.kind, subject.name.clone()),
        None => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_error_is_lost_on_the_way_to_the_wire() {
        let error = Error::new(Kind::NotFound, "No such container: x")
            .hint("run 'ctr-like ps -a'")
            .about("container", "x")
            .because(std::io::Error::other("below"));
        let status = status(&error);
        assert_eq!(status.code, Code::NotFound);
        assert_eq!(status.message, "No such container: x");
        assert_eq!(status.hints, ["run 'ctr-like ps -a'"]);
        assert_eq!(status.causes, ["below"]);
        assert_eq!(status.resource.unwrap().name, "x");
    }
}
