//! `ctr-like doctor`: what is wrong with host, store and daemon, and what to do.

use api::message::{DoctorRequest, Finding, FindingState};
use api::{Context, System as _};
use clap::Args;

use crate::connect::Session;
use crate::failure::Outcome;
use crate::render;
use crate::render::format::Format;

/// Look for what is wrong with this machine and the daemon, and say what to do
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Mend what can be mended without losing anything
    #[arg(long)]
    fix: bool,
    /// json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Doctor {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let format = Format::parse(self.format.as_deref())?;
        // Where there is none, its reason is the finding.
        let client = session.connect().await?;
        let report = client
            .doctor(Context::new(), DoctorRequest { fix: self.fix })
            .await?;
        for finding in &report.findings {
            if let Format::Table = format {
                for line in lines(finding) {
                    render::line(&line)?;
                }
            } else {
                let document = serde_json::to_value(finding).unwrap_or_default();
                render::line(&format.object(&document)?)?;
            }
        }
        let problems = report
            .findings
            .iter()
            .filter(|finding| finding.state == FindingState::Problem);
        Ok(i32::from(problems.count() > 0))
    }
}

fn lines(finding: &Finding) -> Vec<String> {
    let mark = match finding.state {
        FindingState::Ok => "ok      ",
        FindingState::Warning => "warning ",
        FindingState::Problem => "PROBLEM ",
    };
    let mut lines = vec![format!("{mark} {}: {}", finding.check, finding.found)];
    if !finding.advice.is_empty() {
        lines.push(format!("           {}", finding.advice));
    }
    lines
}
