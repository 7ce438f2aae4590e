//! `ctr-like explain`: what codes of Windows mean.

use api::message::ExplainRequest;
use api::{Context, System as _};
use clap::Args;
use serde_json::Value;

use crate::connect::Session;
use crate::failure::{self, Outcome};
use crate::render;
use crate::render::format::Format;

/// Say what a code of Windows means, and what to do
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A code as it was printed, such as 0x8037010E, -2143878898 or 1168, or its name
    #[arg(required = true, value_name = "CODE", allow_negative_numbers = true)]
    codes: Vec<String>,
    /// json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Explain {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let format = Format::parse(self.format.as_deref())?;
        let client = session.connect().await?;
        let mut outcome = 0;
        for code in self.codes {
            let request = ExplainRequest { code };
            let found = match client.explain(Context::new(), request).await {
                Ok(found) => found,
                Err(status) => {
                    outcome = failure::report(Err(status.into()));
                    continue;
                }
            };
            if let Format::Table = format {
                render::line(&format!("{} ({}) {}", found.code, found.signed, found.name))?;
                render::line(&format!("  {}", found.meaning))?;
                if !found.hint.is_empty() {
                    render::line(&format!("  {}", found.hint))?;
                }
            } else {
                let document = serde_json::to_value(&found).unwrap_or(Value::Null);
                render::line(&format.object(&document)?)?;
            }
        }
        Ok(outcome)
    }
}
