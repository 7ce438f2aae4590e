//! What can be typed, and who does it.
//!
//! Building the parsers of all verbs takes longer than most requests, so only those of the words on the line are built at
//! first; when that does not parse, the line is read again with all of them, which gives the right error or help.

use std::ffi::OsString;

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::connect::Session;
use crate::environment as env;
use crate::failure::{self, ENGINE, Failure, Outcome};
use crate::verbs;

#[derive(Debug, Args)]
struct Globals {
    /// The daemon: unix:///PATH or npipe:////./pipe/NAME
    #[arg(short = 'H', long, global = true, value_name = "ADDRESS", env = env::HOST, hide_env_values = true,
        help_heading = "Daemon")]
    host: Option<String>,
    /// Do not start a daemon when none is running
    #[arg(long, global = true, help_heading = "Daemon")]
    no_start: bool,
}

/// The words on a line; `None` stands for every word.
type Words<'a> = Option<&'a [OsString]>;

fn wanted(words: Words<'_>, names: &[&str]) -> bool {
    words.is_none_or(|words| words.iter().any(|word| names.iter().any(|name| word == name)))
}

/// A set of verbs: their names and aliases, and who does them. A noun is a verb whose arguments are a set again.
macro_rules! family {
    ($family:ident {
        verbs { $($name:ident($arguments:ty) = $word:literal $(| $alias:literal)*,)* }
        nouns { $($noun:ident($below:ty) = $noun_word:literal, $about:literal;)* }
    }) => {
        #[derive(Debug)]
        enum $family {
            $($name($arguments),)*
            $($noun($below),)*
        }

        impl $family {
            fn commands(words: Words<'_>) -> Vec<Command> {
                let mut commands = Vec::new();
                $({
                    let aliases: &[&'static str] = &[$($alias),*];
                    if wanted(words, &[$word $(, $alias)*]) {
                        let command = <$arguments as Args>::augment_args(Command::new($word));
                        commands.push(command.visible_aliases(aliases.iter().copied()));
                    }
                })*
                $(if wanted(words, &[$noun_word]) {
                    let command = Command::new($noun_word).about($about).subcommands(<$below>::commands(words));
                    commands.push(command.subcommand_required(true).arg_required_else_help(true));
                })*
                commands
            }

            fn parse(matches: &ArgMatches) -> Result<Self, clap::Error> {
                match matches.subcommand() {
                    $(Some(($word, matches)) => <$arguments>::from_arg_matches(matches).map(Self::$name),)*
                    $(Some(($noun_word, matches)) => <$below>::parse(matches).map(Self::$noun),)*
                    _ => Err(clap::Error::new(ErrorKind::MissingSubcommand)),
                }
            }

            async fn run(self, session: &Session) -> Outcome {
                match self {
                    $(Self::$name(arguments) => Box::pin(arguments.run(session)).await,)*
                    $(Self::$noun(verb) => Box::pin(verb.run(session)).await,)*
                }
            }
        }
    };
}

family! {
    Verb {
        verbs {
            Attach(verbs::attach::Attach) = "attach",
            Commit(verbs::commit::Commit) = "commit",
            Completion(verbs::completion::Completion) = "completion",
            Cp(verbs::cp::Cp) = "cp",
            Create(verbs::create::Create) = "create",
            Daemon(verbs::daemon::Daemon) = "daemon",
            Diff(verbs::diff::Diff) = "diff",
            Doctor(verbs::doctor::Doctor) = "doctor",
            Events(verbs::events::Events) = "events",
            Exec(verbs::exec::Exec) = "exec",
            Explain(verbs::explain::Explain) = "explain",
            Export(verbs::export::Export) = "export",
            Images(verbs::images::Images) = "images",
            Info(verbs::info::Info) = "info",
            Inspect(verbs::inspect::Inspect) = "inspect",
            Kill(verbs::kill::Kill) = "kill",
            Load(verbs::load::Load) = "load",
            Login(verbs::login::Login) = "login",
            Logout(verbs::login::Logout) = "logout",
            Logs(verbs::logs::Logs) = "logs",
            Ps(verbs::ps::Ps) = "ps",
            Pull(verbs::pull::Pull) = "pull",
            Push(verbs::push::Push) = "push",
            Rename(verbs::rename::Rename) = "rename",
            Restart(verbs::restart::Restart) = "restart",
            Rm(verbs::rm::Rm) = "rm" | "remove" | "delete",
            Rmi(verbs::rmi::Rmi) = "rmi",
            Run(verbs::run::Run) = "run",
            Save(verbs::save::Save) = "save",
            Start(verbs::start::Start) = "start",
            Stats(verbs::stats::Stats) = "stats",
            Stop(verbs::stop::Stop) = "stop",
            System(verbs::system::System) = "system",
            Tag(verbs::tag::Tag) = "tag",
            Top(verbs::top::Top) = "top",
            Version(verbs::version::Version) = "version",
            Wait(verbs::wait::Wait) = "wait",
        }
        nouns {
            Container(ContainerVerb) = "container", "Manage containers";
            Image(ImageVerb) = "image", "Manage images";
            Network(NetworkVerb) = "network", "Manage networks";
        }
    }
}

family! {
    ContainerVerb {
        verbs {
            Attach(verbs::attach::Attach) = "attach",
            Commit(verbs::commit::Commit) = "commit",
            Cp(verbs::cp::Cp) = "cp",
            Create(verbs::create::Create) = "create",
            Diff(verbs::diff::Diff) = "diff",
            Exec(verbs::exec::Exec) = "exec",
            Export(verbs::export::Export) = "export",
            Inspect(verbs::inspect::InspectContainers) = "inspect",
            Kill(verbs::kill::Kill) = "kill",
            Logs(verbs::logs::Logs) = "logs",
            Ls(verbs::ps::Ps) = "ls" | "list" | "ps",
            Prune(verbs::prune::PruneContainers) = "prune",
            Rename(verbs::rename::Rename) = "rename",
            Restart(verbs::restart::Restart) = "restart",
            Rm(verbs::rm::Rm) = "rm" | "remove" | "delete",
            Run(verbs::run::Run) = "run",
            Start(verbs::start::Start) = "start",
            Stats(verbs::stats::Stats) = "stats",
            Stop(verbs::stop::Stop) = "stop",
            Top(verbs::top::Top) = "top",
            Wait(verbs::wait::Wait) = "wait",
        }
        nouns {}
    }
}

family! {
    ImageVerb {
        verbs {
            Inspect(verbs::inspect::InspectImages) = "inspect",
            Load(verbs::load::Load) = "load",
            Ls(verbs::images::Images) = "ls" | "list",
            Prune(verbs::prune::PruneImages) = "prune",
            Pull(verbs::pull::Pull) = "pull",
            Push(verbs::push::Push) = "push",
            Rm(verbs::rmi::Rmi) = "rm" | "remove" | "delete",
            Save(verbs::save::Save) = "save",
            Tag(verbs::tag::Tag) = "tag",
        }
        nouns {}
    }
}

family! {
    NetworkVerb {
        verbs {
            Connect(verbs::network::Connect) = "connect",
            Create(Box<verbs::network::Create>) = "create",
            Disconnect(verbs::network::Disconnect) = "disconnect",
            Inspect(verbs::inspect::InspectNetworks) = "inspect",
            Ls(verbs::network::Ls) = "ls" | "list",
            Prune(verbs::prune::PruneNetworks) = "prune",
            Rm(verbs::network::Rm) = "rm" | "remove" | "delete",
        }
        nouns {}
    }
}

/// Does what was typed and gives the exit code.
pub(crate) fn run(arguments: &[OsString]) -> i32 {
    let (globals, verb) = match parse(arguments) {
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

fn parse(arguments: &[OsString]) -> Result<(Globals, Verb), clap::Error> {
    let attempt = |words: Words<'_>| {
        let matches = build(words).try_get_matches_from(arguments)?;
        Ok((Globals::from_arg_matches(&matches)?, Verb::parse(&matches)?))
    };
    attempt(Some(arguments)).or_else(|_: clap::Error| attempt(None))
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

/// The whole command line as docker's users type it: every switch also takes a value (`--rm=false`), and a flag that is
/// given twice is no mistake.
pub(crate) fn command() -> Command {
    build(None)
}

fn build(words: Words<'_>) -> Command {
    let command = Command::new("ctr-like")
        .about("Containers for Linux and Windows, side by side")
        .version(concat!("version ", env!("CARGO_PKG_VERSION")))
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .arg_required_else_help(true);
    adapt(Globals::augment_args(command).subcommands(Verb::commands(words)))
}

fn adapt(command: Command) -> Command {
    command
        .args_override_self(true)
        .mut_args(switch)
        .mut_subcommands(adapt)
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
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        super::parse(&words)
            .map(|(_, verb)| verb)
            .map_err(|error| error.kind())
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
            "ctr-like container cp -a=false - c:/",
            "ctr-like cp -aLq c:/x .",
            "ctr-like commit -a me -m why -c x --change y --pause=false c r:t",
            "ctr-like commit -p c",
            "ctr-like events --filter type=container --format x",
            "ctr-like image inspect --format x i",
            "ctr-like image pull --quiet i",
            "ctr-like image rm --force i",
            "ctr-like image ls -q",
            "ctr-like attach c",
            "ctr-like version -f json",
            "ctr-like stats",
            "ctr-like stats -a --no-stream --no-trunc --format json c d",
            "ctr-like container stats c",
            "ctr-like top c",
            "ctr-like top c -ef",
            "ctr-like container top c -o pid -H -- --x",
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
        assert_eq!(
            parse("ctr-like container ps run").err(),
            Some(ErrorKind::UnknownArgument)
        );
        assert_eq!(
            parse("ctr-like container").err(),
            Some(ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand)
        );
    }

    #[test]
    fn word_of_another_verb_on_the_line_does_no_harm() {
        assert!(matches!(parse("ctr-like -H ps images"), Ok(Verb::Images(_))));
        assert!(matches!(parse("ctr-like run ps images rm"), Ok(Verb::Run(_))));
        assert!(matches!(parse("ctr-like remove ps"), Ok(Verb::Rm(_))));
        assert!(matches!(
            parse("ctr-like container ps"),
            Ok(Verb::Container(ContainerVerb::Ls(_)))
        ));
    }
}
