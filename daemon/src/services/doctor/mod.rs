//! `System/Doctor`: what of host, store and daemon is as it has to be, and what to do where it is not.
//!
//! Each check looks at one thing and answers with one [`Finding`]. Checks change nothing; with `fix`, what can be mended without
//! losing anything is mended afterwards. They block, so all of them run on one thread beside the requests.
//!
//! Not here: whether the daemon can be reached at all, which the command line finds out.

mod files;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(windows)]
mod ports;
#[cfg(windows)]
mod windows;

use api::message::{DoctorReport, Finding, FindingState};

use std::time::Duration;

use super::House;
#[cfg(target_os = "linux")]
use linux as host;
#[cfg(windows)]
use windows as host;

/// How long a registry may take to answer.
const REGISTRY: Duration = Duration::from_secs(5);

/// Looks at everything.
pub(super) async fn examine(house: &House, fix: bool) -> DoctorReport {
    let settings = house.settings.clone();
    let looking = tokio::task::spawn_blocking(move || {
        let mut findings = host::findings(&settings);
        findings.extend(files::findings(&settings));
        findings
    });
    let mut findings = match looking.await {
        Ok(findings) => findings,
        Err(error) => vec![problem(
            "checks",
            &error.to_string(),
            "report this: a check broke off",
        )],
    };
    #[cfg(windows)]
    findings.push(ports::finding(&house.engine).await);
    findings.extend(registries(house).await);
    findings.push(garbage(house, fix).await);
    DoctorReport { findings }
}

/// Where images come from.
async fn registries(house: &House) -> Vec<Finding> {
    let asked = match house.engine.registries(REGISTRY).await {
        Ok(asked) => asked,
        Err(error) => {
            return vec![problem(
                "registries",
                &error.to_string(),
                "the store cannot be read: look at the other findings",
            )];
        }
    };
    let finding = |(registry, answered): (String, engine::Result<()>)| {
        let check = format!("registry {registry}");
        match answered {
            Ok(()) => ok(&check, "answers"),
            Err(error) => warning(
                &check,
                &error.to_string(),
                "images that are here run; for others look at network, proxy (HTTPS_PROXY, NO_PROXY) and certificates, or name \
                 the registry in insecure_registries if it has no TLS",
            ),
        }
    };
    asked.into_iter().map(finding).collect()
}

/// What nothing refers to any more.
async fn garbage(house: &House, fix: bool) -> Finding {
    let advice =
        "run 'ctr-like doctor --fix', or wait: the daemon collects it when images and containers are removed";
    if !fix {
        return ok("garbage", "looked for and removed with --fix");
    }
    match house.engine.collect().await {
        Ok(report) if report.failed.is_empty() => Finding {
            fixed: !report.removed.is_empty(),
            ..ok(
                "garbage",
                &format!(
                    "{} things removed, {} bytes freed",
                    report.removed.len(),
                    report.freed_bytes
                ),
            )
        },
        Ok(report) => warning(
            "garbage",
            &format!(
                "{} things cannot be removed; the first: {}",
                report.failed.len(),
                report.failed[0].1
            ),
            "the next collection tries again; something may have them open",
        ),
        Err(error) => problem("garbage", &error.to_string(), advice),
    }
}

/// As it has to be.
pub(super) fn ok(check: &str, found: &str) -> Finding {
    finding(check, FindingState::Ok, found, "")
}

/// Something does not work, and other things do.
pub(super) fn warning(check: &str, found: &str, advice: &str) -> Finding {
    finding(check, FindingState::Warning, found, advice)
}

/// Containers do not run.
pub(super) fn problem(check: &str, found: &str, advice: &str) -> Finding {
    finding(check, FindingState::Problem, found, advice)
}

fn finding(check: &str, state: FindingState, found: &str, advice: &str) -> Finding {
    Finding {
        check: check.to_owned(),
        state,
        found: found.to_owned(),
        advice: advice.to_owned(),
        fixed: false,
    }
}
