//! `ctr-like login` and `logout`: refused, with what to do instead.

use api::Status;
use clap::Args;

use crate::connect::Session;
use crate::failure::Outcome;

/// Not supported: logins that docker stored are used
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// What was typed
    #[arg(hide = true, allow_hyphen_values = true, trailing_var_arg = true)]
    arguments: Vec<String>,
}

/// Not supported: logins that docker stored are used
#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// What was typed
    #[arg(hide = true, allow_hyphen_values = true, trailing_var_arg = true)]
    arguments: Vec<String>,
}

impl Login {
    pub(crate) async fn run(self, _: &Session) -> Outcome {
        drop(self.arguments);
        Err(refusal("login").into())
    }
}

impl Logout {
    pub(crate) async fn run(self, _: &Session) -> Outcome {
        drop(self.arguments);
        Err(refusal("logout").into())
    }
}

fn refusal(verb: &str) -> Status {
    Status::unimplemented(format!("{verb} is not supported"))
        .hint("passwords in the auths of ~/.docker/config.json are used; docker login writes them there when no credsStore is set")
}
