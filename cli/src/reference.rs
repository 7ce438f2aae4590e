//! The reference of the command line under `docs/reference/`, written from what the parser knows.

use clap::Command;

use crate::arguments;
use crate::environment as env;

/// The whole page.
fn page() -> String {
    let mut text = String::from(
        "# Command line\n\nGenerated from `cli`; do not edit (`CTR_LIKE_BLESS=1 cargo test -p cli`).\n\n\
         Data goes to standard output, everything else to standard error. Every switch takes a value, too: `--rm=false`.\n\n\
         | exit code | |\n|---|---|\n| 0 | success |\n| the command's own | `run`, `exec`, `start -a`, `attach`; 128 plus the number of the signal that ended it |\n\
         | 127, 126 | the command does not exist, or cannot be run |\n| 125 | `run` failed before the command, or a flag makes no sense |\n\
         | 64 | a template does not parse |\n| 1 | every other failure |\n\n| environment | |\n|---|---|\n",
    );
    for (name, doc) in [
        (
            env::HOST,
            "the daemon: `unix:///PATH` or `npipe:////./pipe/NAME`; `--host` wins",
        ),
        (env::NO_START, "`1`: never start a daemon; as `--no-start`"),
        (
            env::RUN_DIR,
            "the daemon's directory of sockets; the socket is `ctr-like.sock` in it",
        ),
        (
            env::DAEMON,
            "the daemon program to start, instead of `ctr-liked` beside `ctr-like`",
        ),
        (
            env::XDG_RUNTIME_DIR,
            "where the daemon of a user who is not root listens",
        ),
        (
            env::DOCKER_CONFIG,
            "the directory of docker's `config.json`, whose logins are used",
        ),
    ] {
        text.push_str(&format!("| `{name}` | {doc} |\n"));
    }
    let mut command = arguments::command();
    command.build();
    verb(&mut text, &command, "");
    text
}

fn verb(text: &mut String, command: &Command, above: &str) {
    let name = format!("{above}{}", command.get_name());
    let help = command.clone().term_width(110).render_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!(
        "\n## {name}\n\n```text\n{}\n```\n",
        help.join("\n").trim_end()
    ));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        verb(text, below, &format!("{name} "));
    }
}

#[test]
fn reference_is_current() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/cli.md");
    if std::env::var_os("CTR_LIKE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page()).unwrap();
    }
    let found = std::fs::read_to_string(&path)
        .unwrap_or_default()
        .replace("\r\n", "\n");
    assert!(
        found == page(),
        "docs/reference/cli.md is stale: run CTR_LIKE_BLESS=1 cargo test -p cli"
    );
}

#[test]
fn parser_is_consistent() {
    arguments::command().debug_assert();
}
