//! What can be typed, and who does it.

use std::ffi::OsString;

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::connect::Session;
use crate::environment as env;
use crate::failure::{self, ENGINE, Failure, Outcome};
use crate::verbs;

/// Containers for Linux and Windows, side by side
#[derive(Debug, Parser)]
#[command(
    name = "ctr-like",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Args)]
struct Globals {
    /// The daemon: unix:///PATH or npipe:////./pipe/NAME
    #[arg(short = 'H', long, global = true, value_name = "ADDRESS", env = env::HOST, hide_env_values = true, help_heading = "Daemon")]
    host: Option<String>,
    /// Do not start a daemon when none is running
    #[arg(long, global = true, help_heading = "Daemon")]
    no_start: bool,
}

/// One table: the names of verbs, who does them, and whether `container` or `image` has them, too.
macro_rules! verbs {
    ($($(#[$attribute:meta])* $name:ident($arguments:ty),)*) => {
        #[derive(Debug, Subcommand)]
        enum Verb {
            $($(#[$attribute])* $name($arguments),)*
        }

        impl Verb {
            async fn run(self, session: &Session) -> Outcome {
                match self {
                    $(Self::$name(arguments) => Box::pin(arguments.run(session)).await,)*
                }
            }
        }
    };
}

verbs! {
    Attach(verbs::attach::Attach),
    Completion(verbs::completion::Completion),
    Container(verbs::container::Container),
    Create(verbs::create::Create),
    Daemon(verbs::daemon::Daemon),
    Events(verbs::events::Events),
    Exec(verbs::exec::Exec),
    Image(verbs::image::Image),
    Images(verbs::images::Images),
    Info(verbs::info::Info),
    Inspect(verbs::inspect::Inspect),
    Kill(verbs::kill::Kill),
    Load(verbs::load::Load),
    Login(verbs::login::Login),
    Logout(verbs::login::Logout),
    Logs(verbs::logs::Logs),
    Ps(verbs::ps::Ps),
    Pull(verbs::pull::Pull),
    Push(verbs::push::Push),
    Rename(verbs::rename::Rename),
    Restart(verbs::restart::Restart),
    #[command(visible_aliases = ["remove", "delete"])]
    Rm(verbs::rm::Rm),
    Rmi(verbs::rmi::Rmi),
    Run(verbs::run::Run),
    Save(verbs::save::Save),
    Start(verbs::start::Start),
    Stop(verbs::stop::Stop),
    System(verbs::system::System),
    Tag(verbs::tag::Tag),
    Version(verbs::version::Version),
    Wait(verbs::wait::Wait),
}

/// Does what was typed and gives the exit code.
pub(crate) fn run(arguments: &[OsString]) -> i32 {
    let parsed = command()
        .try_get_matches_from(arguments)
        .and_then(|matches| CommandLine::from_arg_matches(&matches));
    let CommandLine { globals, verb } = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return explain(&error),
    };
    let outcome = Session::new(globals.host.as_deref(), !globals.no_start).and_then(|session| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::io("cannot set up", &error))?;
        let outcome = runtime.block_on(verb.run(&session));
        // Reading standard input cannot be interrupted; the process ends anyway.
        runtime.shutdown_background();
        outcome
    });
    failure::report(outcome)
}

fn explain(error: &clap::Error) -> i32 {
    // Nobody to tell when the stream is closed.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => 0,
        _ => ENGINE,
    }
}

/// The command line as docker's users type it: every switch also takes a value (`--rm=false`), and a flag that is given
/// twice is no mistake.
pub(crate) fn command() -> Command {
    adapt(CommandLine::command())
}

fn adapt(command: Command) -> Command {
    let command = command.args_override_self(true).mut_args(switch);
    let names: Vec<String> = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    names
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, adapt))
}

fn switch(argument: Arg) -> Arg {
    if !matches!(argument.get_action(), ArgAction::SetTrue) {
        return argument;
    }
    argument
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .value_parser(BoolishValueParser::new())
        .value_name("BOOL")
        .hide_possible_values(true)
        .hide_default_value(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Verb, ErrorKind> {
        let matches = command()
            .try_get_matches_from(line.split(' '))
            .map_err(|error| error.kind())?;
        Ok(CommandLine::from_arg_matches(&matches).unwrap().verb)
    }

    #[test]
    fn lines_that_orchestrators_type_are_understood() {
        for line in [
            "ctr-like create --name n --network name=x,alias=a --mount type=volume,target=/t -p 127.0.0.1::80/TCP -e A=1 --restart=always --pull never -it i a b",
            "ctr-like run --detach i",
            "ctr-like exec --workdir /w -e N=V c cmd -x --y",
            "ctr-like container ls --no-trunc --all --filter label=k=v --format {{json_.}}",
            "ctr-like container ls -n 1",
            "ctr-like container ls --last 1 --quiet",
            "ctr-like container inspect --format x c d",
            "ctr-like container start c d",
            "ctr-like container stop --time 10 c",
            "ctr-like container stop -t 10 c",
            "ctr-like container rm -v --force c",
            "ctr-like container logs --follow --timestamps c",
            "ctr-like events --filter type=container --format x",
            "ctr-like image inspect --format x i",
            "ctr-like image pull --quiet i",
            "ctr-like image rm --force i",
            "ctr-like image ls -q",
            "ctr-like attach c",
            "ctr-like version -f json",
            "ctr-like run --rm=false -d=true -it --rm --rm i",
            "ctr-like run -h host i",
            "ctr-like -H unix:///x --no-start ps",
            "ctr-like ps -H unix:///x --no-start",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
        }
    }

    #[test]
    fn switches_take_values_and_may_be_bundled() {
        let Verb::Run(_) = parse("ctr-like run -itd --rm=false i").unwrap() else {
            panic!("another verb")
        };
        assert_eq!(
            parse("ctr-like run --rm=maybe i").err(),
            Some(ErrorKind::ValueValidation)
        );
    }

    #[test]
    fn unknown_flags_before_the_image_are_errors() {
        assert_eq!(
            parse("ctr-like run --bogus i").err(),
            Some(ErrorKind::UnknownArgument)
        );
        assert_eq!(
            parse("ctr-like run").err(),
            Some(ErrorKind::MissingRequiredArgument)
        );
        assert_eq!(parse("ctr-like bogus").err(), Some(ErrorKind::InvalidSubcommand));
        assert_eq!(parse("ctr-like run --help").err(), Some(ErrorKind::DisplayHelp));
    }
}
