//! `retraced completions`: completion scripts for shells.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use crate::context::CommandContext;
use crate::error::CliError;

pub(crate) const AFTER_HELP: &str = "\
For bash:  retraced completions bash > ~/.local/share/bash-completion/completions/retraced
For zsh:   retraced completions zsh > ~/.zfunc/_retraced    (with `fpath+=~/.zfunc` before compinit)
For fish:  retraced completions fish > ~/.config/fish/completions/retraced.fish";

/// `retraced completions`
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, context: &CommandContext, mut grammar: Command) -> Result<(), CliError> {
        let mut script = Vec::new();
        generate(self.shell, &mut grammar, "retraced", &mut script);
        Ok(context.out.print_text(&String::from_utf8_lossy(&script))?)
    }
}
