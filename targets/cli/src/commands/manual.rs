//! `kinglet completions` and `kinglet man`: what the command line is, for shells and `man`.

use std::io::Write;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_mangen::Man;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::support::output::{self, Output};
use crate::support::stdout::Stdout;

/// Prints the completions of a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kinglet", &mut script);
    Ok(Stdout::lock().write_all(&script)?)
}

/// Writes a page for the program and one for each command.
pub(crate) fn man(args: &ManArgs) -> Result<()> {
    output::refuse_standard_output("man", &args.folder)?;
    std::fs::create_dir_all(&args.folder)
        .with_context(|| format!("cannot make the folder {}", args.folder.display()))?;
    let mut program = Cli::command().disable_help_subcommand(true);
    // Gives the commands their names for display, `kinglet-run`.
    program.build();
    let commands = program.get_subcommands().filter(|command| !command.is_hide_set());
    for command in commands.chain([&program]) {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        let mut file = Output::create(&args.folder.join(format!("{name}.1")))?;
        Man::new(command.clone()).render(&mut file)?;
        file.finish()?;
    }
    Ok(())
}
