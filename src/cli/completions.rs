//! `retraced completions`: what a shell completes.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::error::CliError;
use super::{Admin, Cli};

pub(super) const AFTER_HELP: &str = "\
For bash:  retraced completions bash > ~/.local/share/bash-completion/completions/retraced
For zsh:   retraced completions zsh > ~/.zfunc/_retraced    (with `fpath+=~/.zfunc` before compinit)
For fish:  retraced completions fish > ~/.config/fish/completions/retraced.fish";

/// `retraced completions`
#[derive(Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, admin: &Admin) -> Result<(), CliError> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "retraced", &mut script);
        Ok(admin.out.line(&String::from_utf8_lossy(&script))?)
    }
}
