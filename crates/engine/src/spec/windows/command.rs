//! What a Windows container runs: program and arguments of its image and of the user, and their command line.

use image::Image;
use serde_json::Value;
use task::document::windows::command_line;

use crate::record::CreateOptions;

/// Program and arguments of a new container, and whether the first of them is the beginning of a command line.
///
/// An entry point that was given takes the place of the image's command, too.
pub(crate) fn arguments(options: &CreateOptions, image: &Image) -> (Vec<String>, bool) {
    let config = image.config.config().as_ref();
    let entrypoint = config.and_then(|config| config.entrypoint().clone());
    let command = config.and_then(|config| config.cmd().clone());
    select(
        options,
        entrypoint.unwrap_or_default(),
        command.unwrap_or_default(),
        args_escaped(image.raw_config.get()),
    )
}

pub(super) fn select(
    options: &CreateOptions,
    entrypoint: Vec<String>,
    command: Vec<String>,
    escaped: bool,
) -> (Vec<String>, bool) {
    let (mut args, entry_of_image) = match &options.entrypoint {
        Some(given) => (
            given.iter().filter(|word| !word.is_empty()).cloned().collect(),
            false,
        ),
        None => (entrypoint, true),
    };
    let (command, command_of_image) = if !options.command.is_empty() || options.entrypoint.is_some() {
        (options.command.clone(), false)
    } else {
        (command, true)
    };
    let first_of_image = if args.is_empty() {
        command_of_image
    } else {
        entry_of_image
    };
    args.extend(command);
    let raw = escaped && first_of_image && !args.is_empty();
    (args, raw)
}

/// Whether the configuration of an image says that its command is a command line.
pub(super) fn args_escaped(raw_config: &str) -> bool {
    let config: Option<Value> = serde_json::from_str(raw_config).ok();
    config.is_some_and(|config| config["config"]["ArgsEscaped"] == true)
}

/// The command line of arguments whose first is the beginning of one.
///
/// Builders write a shell command in two ways: as one word with everything in it, and as the shell, its options and the
/// text. `cmd` has rules of its own for what follows `/C`, so that is never quoted; what a user adds to a command line
/// is.
pub(super) fn raw_line(args: &[String]) -> String {
    let of_cmd = args
        .iter()
        .position(|word| word.eq_ignore_ascii_case("/c") || word.eq_ignore_ascii_case("/k"))
        .filter(|_| is_cmd(&args[0]));
    let (raw, quoted) = match of_cmd {
        Some(_) => args.split_at(args.len()),
        None => args.split_at(args.len().min(1)),
    };
    let mut line = raw.join(" ");
    for word in quoted {
        line.push(' ');
        line.push_str(&command_line::quote(word));
    }
    line
}

/// Whether a word is the command processor alone.
fn is_cmd(word: &str) -> bool {
    let name = word.rsplit(['\\', '/']).next().unwrap_or(word);
    name.eq_ignore_ascii_case("cmd") || name.eq_ignore_ascii_case("cmd.exe")
}
