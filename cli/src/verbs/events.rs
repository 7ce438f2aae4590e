//! `ctr-like events`.

use api::message::{Event, EventsRequest};
use api::{Context, System};
use clap::Args;
use futures_util::StreamExt;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::connect::Session;
use crate::failure::Outcome;
use crate::render::format::Format;
use crate::{filters, quantity, render};

/// Tell what happens
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only those that meet a condition
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// From this time on: RFC 3339, seconds, or how long ago (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Up to this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Events {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let format = Format::parse(self.format.as_deref())?;
        let now = OffsetDateTime::now_utc();
        let time = |text: &Option<String>| {
            text.as_deref()
                .map(|text| quantity::instant(text, now))
                .transpose()
        };
        let request = EventsRequest {
            since: time(&self.since)?,
            until: time(&self.until)?,
            filters: filters::parse(&self.filter)?,
        };
        let client = session.connect().await?;
        let mut events = client.events(Context::new(), request).await?;
        while let Some(event) = events.next().await {
            let event = event?;
            let text = match &format {
                Format::Table => line(&event),
                format => format.object(&document(&event))?,
            };
            render::line(&text)?;
        }
        Ok(0)
    }
}

fn line(event: &Event) -> String {
    let facts: Vec<String> = event
        .actor
        .attributes
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let facts = if facts.is_empty() {
        String::new()
    } else {
        format!(" ({})", facts.join(", "))
    };
    format!(
        "{} {} {} {}{facts}",
        event.time, event.kind, event.action, event.actor.id
    )
}

/// The event in docker's shape. The attributes are there twice: some readers look for them at the top.
fn document(event: &Event) -> Value {
    let mut document = json!({
        "Type": event.kind,
        "Action": event.action,
        "Actor": {"ID": event.actor.id, "Attributes": event.actor.attributes},
        "Attributes": event.actor.attributes,
        "scope": event.scope,
        "time": event.time_nano / 1_000_000_000,
        "timeNano": event.time_nano,
    });
    if matches!(event.kind.as_str(), "container" | "image") {
        document["status"] = event.action.clone().into();
        document["id"] = event.actor.id.clone().into();
        if let Some(image) = event.actor.attributes.get("image") {
            document["from"] = image.clone().into();
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use api::message::Actor;

    use super::*;

    fn event() -> Event {
        Event {
            kind: "container".to_owned(),
            action: "die".to_owned(),
            actor: Actor {
                id: "abc".to_owned(),
                attributes: [("image", "busybox"), ("exitCode", "7")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            },
            scope: "local".to_owned(),
            time: "2026-01-02T15:04:05.000000001Z".to_owned(),
            time_nano: 1_767_366_245_000_000_001,
        }
    }

    #[test]
    fn line_and_document_are_dockers() {
        insta::assert_snapshot!(line(&event()), @"2026-01-02T15:04:05.000000001Z container die abc (exitCode=7, image=busybox)");
        insta::assert_snapshot!(Format::Json.object(&document(&event())).unwrap(), @r#"{"Action":"die","Actor":{"Attributes":{"exitCode":"7","image":"busybox"},"ID":"abc"},"Attributes":{"exitCode":"7","image":"busybox"},"Type":"container","from":"busybox","id":"abc","scope":"local","status":"die","time":1767366245,"timeNano":1767366245000000001}"#);
    }
}
