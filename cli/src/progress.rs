//! Progress of transfers on standard error: bars on a terminal, one line per change of state elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;

use api::message::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::render;
use crate::terminal::Sequences;

/// Shows what it is told.
pub(crate) enum Show {
    Nothing,
    Lines {
        last: HashMap<String, String>,
    },
    Bars {
        all: MultiProgress,
        bars: HashMap<String, ProgressBar>,
        /// Dropped last: what draws the bars changes the modes of a console and leaves them so.
        _sequences: Option<Sequences>,
    },
}

impl Show {
    /// Chooses by `quiet` and by what standard error is.
    pub(crate) fn new(quiet: bool) -> Self {
        match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Self::Nothing,
            (false, true) => Self::Bars {
                all: MultiProgress::new(),
                bars: HashMap::new(),
                _sequences: Sequences::on_stderr().ok(),
            },
            (false, false) => Self::Lines { last: HashMap::new() },
        }
    }

    /// Takes one report.
    pub(crate) fn progress(&mut self, progress: &Progress) {
        match self {
            Self::Nothing => {}
            Self::Lines { last } => {
                if let Some(line) = changed(last, progress) {
                    render::note(&line);
                }
            }
            Self::Bars { all, bars, .. } => {
                let id = render::escape(&progress.id);
                let bar = bars.entry(progress.id.clone()).or_insert_with(|| {
                    let bar = all.add(ProgressBar::no_length());
                    bar.set_prefix(if id.is_empty() {
                        String::new()
                    } else {
                        format!("{id}: ")
                    });
                    bar
                });
                bar.set_message(render::escape(&progress.status));
                match (progress.current, progress.total) {
                    (Some(current), Some(total)) if current < total => {
                        bar.set_style(moving());
                        bar.set_length(total);
                        bar.set_position(current);
                    }
                    _ => {
                        bar.set_style(still());
                        bar.tick();
                    }
                }
            }
        }
    }

    /// Leaves the last state on the screen.
    pub(crate) fn finish(self) {
        if let Self::Bars { bars, .. } = self {
            for bar in bars.into_values() {
                bar.abandon();
            }
        }
    }
}

/// The line for a report that says something new; numbers alone do not.
fn changed(last: &mut HashMap<String, String>, progress: &Progress) -> Option<String> {
    let Progress { id, status, .. } = progress;
    if last.get(id) == Some(status) {
        return None;
    }
    last.insert(id.clone(), status.clone());
    Some(if id.is_empty() {
        status.clone()
    } else {
        format!("{id}: {status}")
    })
}

fn moving() -> ProgressStyle {
    let style = ProgressStyle::with_template("{prefix}{msg:<18} [{bar:30}] {bytes}/{total_bytes}");
    style.expect("the template is constant").progress_chars("=> ")
}

fn still() -> ProgressStyle {
    ProgressStyle::with_template("{prefix}{msg}").expect("the template is constant")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_changes_of_state_only() {
        let mut last = HashMap::new();
        let mut tell = |id: &str, status: &str, current| {
            changed(
                &mut last,
                &Progress {
                    id: id.to_owned(),
                    status: status.to_owned(),
                    current: Some(current),
                    total: Some(9),
                },
            )
        };
        assert_eq!(tell("a", "Downloading", 1).as_deref(), Some("a: Downloading"));
        assert_eq!(tell("a", "Downloading", 2), None);
        assert_eq!(tell("b", "Downloading", 2).as_deref(), Some("b: Downloading"));
        assert_eq!(tell("a", "Pull complete", 9).as_deref(), Some("a: Pull complete"));
        assert_eq!(tell("", "Digest: x", 0).as_deref(), Some("Digest: x"));
    }
}
