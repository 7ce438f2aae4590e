//! `ctr-like version`. Asks a daemon that runs and starts none.

use api::message::Version as Server;
use clap::Args;
use serde_json::{Value, json};

use crate::connect::Session;
use crate::failure::{self, Outcome};
use crate::render;
use crate::render::format::Format;

/// Print the versions of client and daemon
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// json, or a template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Version {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let format = Format::parse(self.format.as_deref())?;
        // The daemon says its version when it is greeted.
        let server = session
            .connect_running()
            .await
            .map(|client| client.server_version().clone());
        match &format {
            Format::Table => {
                for line in text(server.as_ref().ok()) {
                    render::line(&line)?;
                }
            }
            format => render::line(&format.object(&document(server.as_ref().ok()))?)?,
        }
        Ok(server.map_or_else(|failure| failure::report(Err(failure)), |_| 0))
    }
}

fn document(server: Option<&Server>) -> Value {
    let os = std::env::consts::OS;
    let client = json!({
        "Platform": {"Name": "ctr-like"},
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": api::API_VERSION.to_string(),
        "DefaultAPIVersion": api::API_VERSION.to_string(),
        "Os": os,
        "Arch": arch(),
        "Context": "default",
    });
    let server = server.map(|server| {
        let components: Vec<Value> = server
            .components
            .iter()
            .map(|part| json!({"Name": part.name, "Version": part.version, "Details": part.details}))
            .collect();
        json!({
            "Platform": {"Name": "ctr-like"},
            "Components": components,
            "Version": server.version,
            "ApiVersion": server.api.max.to_string(),
            "MinAPIVersion": server.api.min.to_string(),
            "GitCommit": server.git_commit,
            "Os": server.os,
            "Arch": server.arch,
            "KernelVersion": server.kernel_version,
            "BuildTime": server.build_time,
        })
    });
    json!({"Client": client, "Server": server})
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn text(server: Option<&Server>) -> Vec<String> {
    let mut lines = vec![
        "Client:".to_owned(),
        format!(" Version:           {}", env!("CARGO_PKG_VERSION")),
        format!(" API version:       {}", api::API_VERSION),
        format!(" OS/Arch:           {}/{}", std::env::consts::OS, arch()),
    ];
    if let Some(server) = server {
        lines.extend([String::new(), "Server:".to_owned()]);
        lines.push(format!(" Version:           {}", server.version));
        lines.push(format!(
            " API version:       {} (minimum {})",
            server.api.max, server.api.min
        ));
        lines.push(format!(" OS/Arch:           {}/{}", server.os, server.arch));
        for (name, value) in [
            ("Kernel:", &server.kernel_version),
            ("Git commit:", &server.git_commit),
            ("Built:", &server.build_time),
        ] {
            if !value.is_empty() {
                lines.push(format!(" {name:<18} {value}"));
            }
        }
        for part in &server.components {
            lines.push(format!(" {:<18} {}", format!("{}:", part.name), part.version));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_is_dockers_with_or_without_a_daemon() {
        let server = Server {
            version: "1.2.3".to_owned(),
            os: "linux".to_owned(),
            ..Server::default()
        };
        let both = document(Some(&server));
        assert_eq!(both["Client"]["Context"], "default");
        assert_eq!(
            (&both["Server"]["Version"], &both["Server"]["Os"]),
            (&json!("1.2.3"), &json!("linux"))
        );
        assert_eq!(document(None)["Server"], Value::Null);
    }
}
