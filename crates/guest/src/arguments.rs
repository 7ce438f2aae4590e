//! Command lines of the programs that this binary stands for: `init`, `vsockexec`, `gcs`.
//!
//! Hosts write them for the reference programs. Flags have one dash or two, values follow or are joined with `=`;
//! what we do not know is accepted and has no effect.

/// Init's own arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Init {
    /// Where entropy comes from.
    pub(crate) entropy: Option<u32>,
    /// `/etc` and `/var` become writable.
    pub(crate) writable: bool,
    /// What to run.
    pub(crate) program: Option<Vec<String>>,
}

/// The agent as init is to run it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Agent {
    /// The port that takes its log.
    pub(crate) log: Option<u32>,
    /// Its own flags.
    pub(crate) flags: Flags,
}

/// Flags of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `-loglevel`
    pub(crate) log_level: String,
    /// `-runtime`: a program with runc's command line, instead of libcontainer.
    pub(crate) runtime: Option<String>,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            log_level: "info".to_owned(),
            runtime: None,
        }
    }
}

/// Ports for the standard streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) stdin: Option<u32>,
    pub(crate) stdout: Option<u32>,
    pub(crate) stderr: Option<u32>,
}

/// Reads init's arguments.
pub(crate) fn init<'a>(words: impl Iterator<Item = &'a str>) -> Init {
    let mut init = Init::default();
    let mut words = words.peekable();
    while let Some(word) = words.peek() {
        match *word {
            "-w" => init.writable = true,
            "--" => {
                words.next();
                break;
            }
            "-e" => {
                words.next();
                init.entropy = words.peek().and_then(|port| port.parse().ok());
            }
            "-d" => {
                // A debug shell is the machine builder's business, not ours.
                words.next();
            }
            word if word.starts_with('-') => {}
            _ => break,
        }
        words.next();
    }
    let program: Vec<String> = words.map(str::to_owned).collect();
    init.program = (!program.is_empty()).then_some(program);
    init
}

/// The agent that a program line starts, directly or through vsockexec; `None` for any other program.
pub(crate) fn agent(program: &[String]) -> Option<Agent> {
    let (name, rest) = program.split_first()?;
    match base(name) {
        "gcs" => Some(Agent {
            log: None,
            flags: flags(rest.iter().map(String::as_str)),
        }),
        "vsockexec" => {
            let (ports, program) = vsockexec(rest.iter().map(String::as_str));
            let mut agent = agent(&program)?;
            agent.log = ports.stderr.or(agent.log);
            Some(agent)
        }
        _ => None,
    }
}

/// The last part of a path.
pub(crate) fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Reads the agent's flags.
pub(crate) fn flags<'a>(words: impl Iterator<Item = &'a str>) -> Flags {
    let mut flags = Flags::default();
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            continue;
        };
        let (name, joined) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        if !matches!(name, "loglevel" | "runtime") {
            continue;
        }
        let value = joined
            .or_else(|| words.next_if(|next| !next.starts_with('-')))
            .map(str::to_owned);
        match name {
            "loglevel" => flags.log_level = value.unwrap_or_else(|| "info".to_owned()),
            _ => flags.runtime = value,
        }
    }
    flags
}

/// Reads vsockexec's arguments: ports, then the program.
pub(crate) fn vsockexec<'a>(words: impl Iterator<Item = &'a str>) -> (Ports, Vec<String>) {
    let mut ports = Ports::default();
    let mut words = words.peekable();
    while let Some(word) = words.next_if(|word| word.starts_with('-')) {
        let slot = match word {
            "-i" => &mut ports.stdin,
            "-o" => &mut ports.stdout,
            "-e" => &mut ports.stderr,
            "--" => break,
            _ => continue,
        };
        *slot = words.next().and_then(|port| port.parse().ok());
    }
    (ports, words.map(str::to_owned).collect())
}

/// The enabled controllers of `/proc/cgroups`.
pub(crate) fn controllers(table: &str) -> Vec<String> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    let fields = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields
        .filter(|fields| fields.get(3) == Some(&"1"))
        .map(|fields| fields[0].to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "-e 1 /bin/vsockexec -e 109 /bin/gcs -v4 -log-format json -loglevel debug -future x";

    #[test]
    fn the_usual_command_line_runs_the_agent() {
        let init = init(LINE.split(' '));
        assert_eq!((init.entropy, init.writable), (Some(1), false));
        let agent = agent(&init.program.unwrap()).unwrap();
        assert_eq!(
            agent,
            Agent {
                log: Some(109),
                flags: Flags {
                    log_level: "debug".into(),
                    runtime: None
                }
            }
        );
    }

    #[test]
    fn another_program_is_not_the_agent() {
        let init = init(["-w", "-e", "1", "sh", "-c", "/bin/vsockexec -e 109 /bin/gcs"].into_iter());
        assert!(init.writable);
        assert_eq!(agent(&init.program.unwrap()), None);
    }

    #[test]
    fn no_arguments_mean_the_default() {
        assert_eq!(init(std::iter::empty()), Init::default());
        assert_eq!(init(["-e"].into_iter()), Init::default());
    }

    #[test]
    fn flags_have_one_dash_or_two_and_values_either_way() {
        assert_eq!(flags(["--loglevel=trace"].into_iter()).log_level, "trace");
        assert_eq!(
            flags(["-v4", "-loglevel", "warning"].into_iter()).log_level,
            "warning"
        );
        assert_eq!(flags(["-loglevel"].into_iter()).log_level, "info");
        assert_eq!(
            flags(["-runtime", "/usr/bin/runc", "-v4"].into_iter())
                .runtime
                .as_deref(),
            Some("/usr/bin/runc")
        );
    }

    #[test]
    fn ports_of_vsockexec_are_numbers() {
        let (ports, program) = vsockexec(["-i", "5", "-o", "6", "-r", "--", "prog", "-e", "7"].into_iter());
        assert_eq!(
            ports,
            Ports {
                stdin: Some(5),
                stdout: Some(6),
                stderr: None
            }
        );
        assert_eq!(program, ["prog", "-e", "7"]);
    }

    #[test]
    fn enabled_controllers_are_read_from_the_kernels_table() {
        let table = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nrdma\t0\t1\t0\n";
        assert_eq!(controllers(table), ["cpu"]);
    }
}
