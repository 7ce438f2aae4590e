//! `ctr-like completion`.

use std::io;

use clap::Args;
use clap_complete::Shell;

use crate::connect::Session;
use crate::failure::{Failure, Outcome};

/// Print the completion script of a shell
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// Shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(crate) async fn run(self, _: &Session) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut crate::arguments::command(),
            "ctr-like",
            &mut script,
        );
        io::Write::write_all(&mut io::stdout().lock(), &script)
            .map_err(|error| Failure::io("cannot write the script", &error))?;
        Ok(0)
    }
}
