//! What `/stats` and `/states` show.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use kinglet_talk::grammar::OwnedGrammar;

use super::Chat;
use super::answer::Rate;
use super::repl::plural;
use super::storage::Kept;
use crate::support::numbers::{grouped, size};

impl Chat<'_> {
    /// Model, template, speed, memory and file, a line each.
    pub(super) fn stats(&self) -> String {
        let (stats, options) = (self.session.stats(), self.session.options());
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:<10}{value}");
        };
        let shape = self.model.shape();
        line("model", format!("{}, {}", self.model_name, shape.architecture));
        line("template", format!("{}: {}", self.session.template(), self.reason));
        if self.session.template().thinks() {
            let budget = options.thought_tokens.map_or(String::new(), |most| {
                format!(", at most {} {}", grouped(most as u64), plural(most, "token"))
            });
            line("thinking", format!("{}{budget}", options.thinking.name()));
        }
        if let Some(system) = &options.system {
            line("system", system.clone());
        }
        if options.grammar.is_some() {
            line("grammar", grammar(options.grammar.as_ref()));
        }
        line("turns", self.session.turns().len().to_string());
        line("read", format!("{}; {} in all", rate(self.times.read), stats.read));
        line("written", format!("{}; {} in all", rate(self.times.drawn), stats.drawn));
        let states = plural(stats.snapshots, "state");
        line(
            "undo",
            format!("{} {states}, {}", stats.snapshots, size(stats.snapshot_bytes as u64)),
        );
        let state = shape.state_len() * self.state_type.size();
        line("state", format!("{} of {}", size(state as u64), self.state_type.name()));
        let seed = self.seed.map_or("that of the conversation".to_owned(), |seed| seed.to_string());
        line("seed", seed);
        let kept = self.storage.session().map(|path| path.display().to_string());
        line("kept in", kept.unwrap_or_else(|| "nothing".to_owned()));
        text.truncate(text.trim_end().len());
        text
    }
}

/// What holds the answers.
pub(super) fn grammar(grammar: Option<&OwnedGrammar>) -> String {
    let Some(grammar) = grammar else { return "free, held to no grammar".to_owned() };
    let view = grammar.view();
    let shortest = view.start().shortest(&view) as usize;
    format!(
        "held to a grammar of {} states, {} {} or more",
        grouped(view.states() as u64),
        grouped(shortest as u64),
        plural(shortest, "byte"),
    )
}

/// The last of something: tokens and their rate.
fn rate(Rate { tokens, time }: Rate) -> String {
    let rate = tokens as f64 / time.as_secs_f64().max(1e-9);
    match tokens {
        0 => "nothing last".to_owned(),
        _ => format!("{tokens} {} last, {rate:.0} a second", plural(tokens, "token")),
    }
}

/// A conversation that was kept, as a line.
pub(super) fn kept(kept: &Kept) -> String {
    let age = kept.changed.and_then(|changed| SystemTime::now().duration_since(changed).ok());
    let age = age.map_or_else(|| "now".to_owned(), age_of);
    format!("{:<20} {age:<16} {}", kept.name, size(kept.len))
}

fn age_of(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute")];
    let unit = units.into_iter().find(|(length, _)| seconds >= *length);
    unit.map_or_else(
        || "now".to_owned(),
        |(length, unit)| {
            let number = (seconds / length) as usize;
            format!("{number} {} ago", plural(number, unit))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_in_whole_units() {
        for (seconds, text) in [
            (0, "now"),
            (59, "now"),
            (60, "1 minute ago"),
            (7300, "2 hours ago"),
            (864_000, "10 days ago"),
        ] {
            assert_eq!(age_of(Duration::from_secs(seconds)), text);
        }
    }
}
