//! Ports that Windows keeps from everybody: ranges that it, Hyper-V or an administrator excluded. No program can listen there, and no
//! container publish a port.
//!
//! Windows has no call that lists them; `netsh` does. Its words depend on the language of the system, its numbers do not.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use api::message::Finding;
use engine::Engine;
use network::Protocol;

use super::{ok, warning};

const CHECK: &str = "excluded ports";
/// How long `netsh` may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a container publishes a port that cannot be had.
pub(super) async fn finding(engine: &Engine) -> Finding {
    let (mut count, mut wanted) = (0, Vec::new());
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let ranges = match excluded(protocol).await {
            Ok(text) => ranges(&text),
            Err(error) => {
                return warning(
                    CHECK,
                    &format!("netsh does not list them: {error}"),
                    "if -p fails, look with 'netsh interface ipv4 show excludedportrange protocol=tcp'",
                );
            }
        };
        count += ranges.len();
        for record in engine.list() {
            let ports = record.options.ports.iter();
            let kept = ports.filter(|port| port.protocol == protocol && in_one_of(&ranges, port.host));
            wanted.extend(kept.map(|port| format!("{}/{} of {}", port.host, protocol.as_str(), record.name)));
        }
    }
    if wanted.is_empty() {
        return ok(
            CHECK,
            &format!("{count} ranges, and no container publishes a port of them"),
        );
    }
    warning(
        CHECK,
        &format!("Windows keeps {}", wanted.join(", ")),
        "publish another port, or free it: stop hns and winnat (net stop winnat), reserve the port with 'netsh interface ipv4 add \
         excludedportrange', start them again",
    )
}

fn in_one_of(ranges: &[(u16, u16)], port: u16) -> bool {
    port != 0
        && ranges
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&port))
}

/// What `netsh` says.
async fn excluded(protocol: Protocol) -> std::io::Result<String> {
    let windows = std::env::var_os("SystemRoot").unwrap_or_else(|| r"C:\Windows".into());
    let mut command = tokio::process::Command::new(PathBuf::from(windows).join(r"System32\netsh.exe"));
    command.args(["interface", "ipv4", "show", "excludedportrange"]);
    command.arg(format!("protocol={}", protocol.as_str()));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(std::io::Error::other(output.status.to_string())),
    }
}

/// The lines that begin with two ports.
fn ranges(text: &str) -> Vec<(u16, u16)> {
    let range = |line: &str| {
        let mut words = line.split_whitespace();
        let (first, last) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        (first <= last).then_some((first, last))
    };
    text.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_the_lines_with_two_ports_in_any_language() {
        let text = "\r\nProtokoll tcp Portausschlussbereiche\r\n\r\nStartport      Endport\r\n----------    --------\r\n      \
                    5357        5357\r\n     50000       50059     *\r\n\r\n* - Verwaltete Portausschlüsse.\r\n";
        let found = ranges(text);
        assert_eq!(found, [(5357, 5357), (50000, 50059)]);
        for (port, expected) in [
            (0, false),
            (5357, true),
            (5358, false),
            (50000, true),
            (50059, true),
        ] {
            assert_eq!(in_one_of(&found, port), expected, "{port}");
        }
        assert_eq!(ranges("70000 80000\n9 8\n1\n"), []);
    }
}
