//! Systems without a service manager that a program can be added to: their administrators do it.

use std::time::Duration;

use api::Status;

use super::Installation;
use crate::connect::Session;
use crate::failure::{Failure, Outcome};

pub(crate) async fn install(_: &Session, _: Installation) -> Outcome {
    Err(refused(
        "write /etc/systemd/system/ctr-like.service with the lines [Service], ExecStart=/PATH/ctr-liked, KillMode=process, \
         [Install] and WantedBy=multi-user.target, then: systemctl enable --now ctr-like",
    ))
}

pub(crate) async fn uninstall(_: &Session, _: bool) -> Outcome {
    Err(refused(
        "systemctl disable --now ctr-like, then remove /etc/systemd/system/ctr-like.service",
    ))
}

fn refused(way: &str) -> Failure {
    Failure::from(Status::unimplemented(
        "only on Windows is the daemon installed by a command; here systemd runs it",
    ))
    .hint(way)
}

pub(crate) async fn start(_: &Session) -> Result<Option<i32>, Failure> {
    Ok(None)
}

pub(crate) async fn stop(_: &Session, _: bool) -> Result<Option<i32>, Failure> {
    Ok(None)
}

pub(crate) async fn status(_: &Session) -> Result<Option<i32>, Failure> {
    Ok(None)
}

/// Whether the place belongs to a service that does not run.
pub(crate) fn keeps_the_place(_: &Session) -> bool {
    false
}

/// The process of a daemon, which may end after its socket: here that hinders nobody.
#[derive(Debug)]
pub(crate) struct Listener;

impl Listener {
    pub(crate) fn of(_: &Session) -> Self {
        Self
    }

    pub(crate) fn ended_within(&self, _: Duration) -> bool {
        true
    }
}
