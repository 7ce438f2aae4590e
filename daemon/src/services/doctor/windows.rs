//! What a Windows host has to have.

use std::path::Path;

use api::message::Finding;
use win32::service::{ServiceAccess, ServiceManager};

use super::{ok, problem, warning};
use crate::settings::Settings;

/// The first build whose compute service has version 2 of the schema: Windows 10 1809, Server 2019.
const OLDEST: u32 = 17763;
/// Services of the container platform, and what they are for.
const SERVICES: [(&str, &str); 2] = [("vmcompute", "compute systems"), ("hns", "networks")];

pub(super) fn findings(_: &Settings) -> Vec<Finding> {
    let mut findings = vec![version(), privileges()];
    findings.extend(win32::hcs_presence().iter().map(library));
    findings.extend(SERVICES.map(|(name, purpose)| service(name, purpose)));
    findings
}

pub(super) fn free_bytes(path: &Path) -> std::io::Result<u64> {
    win32::free_bytes(path)
}

fn version() -> Finding {
    let version = win32::windows_version();
    let edition = if version.server { "server" } else { "client" };
    let found = format!("{version}, {edition}");
    if version.build >= OLDEST {
        return ok("version of Windows", &found);
    }
    problem(
        "version of Windows",
        &found,
        "containers need Windows 10 1809, Server 2019 (build 17763) or newer",
    )
}

fn privileges() -> Finding {
    match win32::privilege::LayerPrivileges::hold() {
        Ok(_held) => ok("rights", "the daemon may write layers"),
        Err(error) => problem(
            "rights",
            &error.to_string(),
            "start the daemon from an elevated prompt, or install it: 'ctr-like daemon install'",
        ),
    }
}

fn library(part: &win32::Presence) -> Finding {
    match &part.missing {
        None => ok(part.dll, part.purpose),
        Some(missing) => warning(
            part.dll,
            &format!("{missing}; it is for {}", part.purpose),
            &format!("switch the Windows feature on that brings it: {}", part.feature),
        ),
    }
}

fn service(name: &'static str, purpose: &str) -> Finding {
    let check = format!("service {name}");
    let advice = "switch the Windows feature Containers on, and restart Windows";
    let state = ServiceManager::connect(false).and_then(|manager| {
        let service = manager.open(name, ServiceAccess::Look)?;
        service.map(|service| service.status()).transpose()
    });
    match state {
        Ok(Some(status)) => ok(&check, &format!("{}, for {purpose}", status.state.word())),
        Ok(None) => warning(&check, &format!("not there; it is for {purpose}"), advice),
        Err(error) => warning(&check, &error.to_string(), advice),
    }
}
