//! The instructions of `commit --change`, in the language of Dockerfiles.
//!
//! Those that change a configuration and nothing else; they are applied in order. One that is unknown or malformed is
//! refused before anything is read from the container.

use serde_json::{Map, Value, json};

use super::words;
use crate::error::{Error, Result};
use crate::signal;

/// What a command in shell form is given to, unless the image says otherwise.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Applies instructions to the `config` object of an image.
pub(super) fn apply(config: &mut Map<String, Value>, changes: &[String]) -> Result<()> {
    let mut has_cmd = false;
    for change in changes.iter().flat_map(|change| change.lines()) {
        let change = change.trim();
        if change.is_empty() {
            continue;
        }
        let (name, rest) = change.split_once(char::is_whitespace).unwrap_or((change, ""));
        one(config, &name.to_ascii_uppercase(), rest.trim(), &mut has_cmd)
            .map_err(|error| error.about("change", change))?;
    }
    Ok(())
}

fn one(config: &mut Map<String, Value>, name: &str, rest: &str, has_cmd: &mut bool) -> Result<()> {
    if rest.is_empty() && !matches!(name, "CMD" | "ENTRYPOINT") {
        return Err(Error::invalid(format!("{name} requires at least one argument")));
    }
    match name {
        "CMD" => {
            *has_cmd = true;
            let command = command(config, rest);
            config.insert("Cmd".to_owned(), json!(command));
        }
        "ENTRYPOINT" => {
            let command = command(config, rest);
            config.insert("Entrypoint".to_owned(), json!(command));
            if !*has_cmd {
                // Arguments of the entry point that was there before.
                config.remove("Cmd");
            }
        }
        "ENV" => {
            let env = words(config, "Env");
            let more: Vec<String> = pairs(rest)?
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            config.insert("Env".to_owned(), json!(crate::spec::merge_env(&env, &more)));
        }
        "LABEL" => {
            for (name, value) in pairs(rest)? {
                object(config, "Labels").insert(name, value.into());
            }
        }
        "EXPOSE" => {
            for port in split(rest)? {
                object(config, "ExposedPorts").insert(exposed(&port)?, json!({}));
            }
        }
        "VOLUME" => {
            let volumes = match serde_json::from_str::<Vec<String>>(rest) {
                Ok(list) => list,
                Err(_) => split(rest)?,
            };
            for volume in volumes {
                if volume.is_empty() {
                    return Err(Error::invalid("VOLUME specified can not be an empty string"));
                }
                object(config, "Volumes").insert(volume, json!({}));
            }
        }
        "USER" => drop(config.insert("User".to_owned(), single(name, rest)?.into())),
        "WORKDIR" => {
            let given = single(name, rest)?;
            let before = config
                .get("WorkingDir")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let path = if given.starts_with('/') {
                given
            } else {
                format!("{}/{given}", before.trim_end_matches('/'))
            };
            config.insert("WorkingDir".to_owned(), path.into());
        }
        "STOPSIGNAL" => {
            let given = single(name, rest)?;
            signal::parse(&given)?;
            config.insert("StopSignal".to_owned(), given.into());
        }
        "ONBUILD" => {
            let trigger = rest
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase();
            if matches!(trigger.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
                return Err(Error::invalid(format!(
                    "{trigger} isn't allowed as an ONBUILD trigger"
                )));
            }
            let list = config.entry("OnBuild").or_insert_with(|| json!([]));
            match list.as_array_mut() {
                Some(list) => list.push(rest.into()),
                None => *list = json!([rest]),
            }
        }
        "HEALTHCHECK" => {
            return Err(Error::unimplemented(
                "HEALTHCHECK cannot be changed by a commit",
                "set it at run time, or in a build",
            ));
        }
        other => {
            return Err(
                Error::invalid(format!("{other} is not a valid change command")).hint(
                    "CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR are",
                ),
            );
        }
    }
    Ok(())
}

/// A list in JSON, or a line for the shell.
fn command(config: &Map<String, Value>, text: &str) -> Vec<String> {
    if let Ok(list) = serde_json::from_str::<Vec<String>>(text) {
        return list;
    }
    if text.is_empty() {
        return Vec::new();
    }
    let mut command = words(config, "Shell");
    if command.is_empty() {
        command = SHELL.map(str::to_owned).to_vec();
    }
    command.push(text.to_owned());
    command
}

fn object<'a>(config: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = config.entry(key).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("it was made one"),
    }
}

fn single(name: &str, rest: &str) -> Result<String> {
    let mut words = split(rest)?;
    match (words.pop(), words.is_empty()) {
        (Some(word), true) => Ok(word),
        _ => Err(Error::invalid(format!("{name} requires exactly one argument"))),
    }
}

/// `NAME=VALUE ...`, or the old form `NAME VALUE`.
fn pairs(rest: &str) -> Result<Vec<(String, String)>> {
    let words = split(rest)?;
    let first = words.first().map_or("", String::as_str);
    if !first.contains('=') {
        let (name, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if value.trim().is_empty() {
            return Err(Error::invalid(format!(
                "can't find = in {rest:?}: it must be NAME=VALUE"
            )));
        }
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some(("", _)) => Err(Error::invalid(format!("{word:?} has no name"))),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Error::invalid(format!(
            "can't find = in {word:?}: it must be NAME=VALUE"
        ))),
    };
    words.into_iter().map(pair).collect()
}

/// `80`, `80/udp`: with its protocol.
fn exposed(text: &str) -> Result<String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let mut ends = port.splitn(2, '-').map(str::parse::<u16>);
    let valid =
        ends.all(|end| end.is_ok_and(|end| end > 0)) && matches!(protocol.as_str(), "tcp" | "udp" | "sctp");
    if valid {
        return Ok(format!("{port}/{protocol}"));
    }
    Err(Error::invalid(format!("invalid containerPort: {text}")))
}

/// Words as a shell has them: quotes hold together, a backslash takes the next character as it is.
fn split(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\'' | '"', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (_, Some(open)) if character == open => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(characters.next()),
            (_, None) if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err(Error::invalid(format!("a quote is not closed in {text:?}")));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(base: Value, changes: &[&str]) -> Result<Value> {
        let mut config = base.as_object().unwrap().clone();
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        apply(&mut config, &changes)?;
        Ok(Value::Object(config))
    }

    #[test]
    fn instructions_change_the_configuration_as_in_a_dockerfile() {
        let config = applied(
            json!({"Env": ["PATH=/bin"], "Cmd": ["old"], "WorkingDir": "/srv"}),
            &[
                "ENTRYPOINT [\"/init\", \"-x\"]",
                "cmd echo $HOME",
                "ENV A=1 B=\"two words\"",
                "ENV PATH /usr/bin:/bin",
                "LABEL who='me too' why=x",
                "EXPOSE 80 53/UDP",
                "VOLUME [\"/data\"]",
                "USER 7:8",
                "WORKDIR sub",
                "STOPSIGNAL SIGINT",
                "ONBUILD RUN true",
            ],
        );
        assert_eq!(
            config.unwrap(),
            json!({
                "Entrypoint": ["/init", "-x"],
                "Cmd": ["/bin/sh", "-c", "echo $HOME"],
                "Env": ["PATH=/usr/bin:/bin", "A=1", "B=two words"],
                "Labels": {"who": "me too", "why": "x"},
                "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
                "Volumes": {"/data": {}},
                "User": "7:8",
                "WorkingDir": "/srv/sub",
                "StopSignal": "SIGINT",
                "OnBuild": ["RUN true"],
            })
        );
    }

    #[test]
    fn a_new_entry_point_has_no_arguments_of_the_old_one() {
        let config = applied(json!({"Cmd": ["old"]}), &["ENTRYPOINT /init"]).unwrap();
        assert_eq!(config, json!({"Entrypoint": ["/bin/sh", "-c", "/init"]}));
        let config = applied(json!({}), &["CMD [\"x\"]", "ENTRYPOINT [\"/init\"]"]).unwrap();
        assert_eq!(config["Cmd"], json!(["x"]));
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for change in [
            "RUN true",
            "ENV",
            "ENV A",
            "ENV =x",
            "EXPOSE http",
            "EXPOSE 80/ip",
            "EXPOSE 0",
            "USER a b",
            "LABEL a='b",
            "STOPSIGNAL SIGNOTHING",
            "ONBUILD FROM x",
            "HEALTHCHECK NONE",
        ] {
            assert!(applied(json!({}), &[change]).is_err(), "{change}");
        }
    }
}
