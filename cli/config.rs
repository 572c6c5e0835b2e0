//! `retraced config`: all settings, and where each comes from.

use clap::Args;
use serde::Serialize;

use crate::context::CommandContext;
use crate::error::CliError;
use crate::output::{Cell, Column, EMPTY_CELL, Style};
use crate::settings::{SettingValue, Settings, Source};

pub(crate) const AFTER_HELP: &str = "\
A flag or argument overrides its environment variable, which overrides the file. The keys of the file are the long names of flags. \
The flags of `retraced work` are in a table, where `queue` holds its queues:

  redis = \"redis://localhost:6379\"

  [work]
  queue = [\"email=50\", \"sms\"]
  webhook = \"https://example.com/jobs\"
  lease = \"30s\"

An unknown key or a value of the wrong type is an error. Of a URL, the password and everything after ? or # are not shown, nor the user unless the server is Redis.";

/// `retraced config`
#[derive(Args)]
pub(crate) struct Config {}

#[derive(Serialize)]
struct SettingRow {
    setting: String,
    value: Option<String>,
    /// `flag`, `environment`, `file`, `default` or `unset`.
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

impl From<SettingValue> for SettingRow {
    fn from(SettingValue { key, value, source }: SettingValue) -> Self {
        let base = Self { setting: key, value, source: "flag", variable: None, file: None, line: None };
        match source {
            Source::Flag => base,
            Source::Environment(variable) => Self { source: "environment", variable: Some(variable), ..base },
            Source::File { path, line } => {
                Self { source: "file", file: Some(path.display().to_string()), line: Some(line), ..base }
            }
            Source::BuiltIn => Self { source: "default", ..base },
            Source::Unset => Self { source: "unset", ..base },
        }
    }
}

impl SettingRow {
    fn origin(&self) -> String {
        match (&self.variable, &self.file, self.line) {
            (Some(variable), ..) => variable.clone(),
            (_, Some(file), Some(line)) => format!("{file}, line {line}"),
            _ => self.source.to_owned(),
        }
    }
}

impl Config {
    pub(crate) fn run(self, context: &CommandContext, settings: &Settings) -> Result<(), CliError> {
        let values = settings.values().map_err(CliError::Usage)?;
        let rows: Vec<SettingRow> = values.into_iter().map(SettingRow::from).collect();
        let columns = [Column::new("SETTING"), Column::new("VALUE").cut(16), Column::new("FROM").cut(12)];
        context.out.results(&rows, &columns, |row| {
            let style = if row.source == "default" || row.source == "unset" { Style::Dim } else { Style::Plain };
            vec![
                row.setting.clone().into(),
                Cell::new(row.value.as_deref().unwrap_or(EMPTY_CELL), style),
                Cell::new(row.origin(), style),
            ]
        })?;
        Ok(())
    }
}
