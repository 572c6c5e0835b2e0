//! Settings: from flags, then the environment, then `retraced.toml`, then defaults.
//!
//! A key of the file is the long name of a flag. The flags of `retraced work`, and its queues under the key `queue`, are in the table `[work]`. A value in the file
//! becomes the default of its argument, so every value is parsed by the same parser, wherever it comes from.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind as Misuse};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, ColorChoice, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::limits::{REFUSED_VALUE_CHARS_MAX, SETTINGS_BYTES_MAX};
use crate::masking::{masked_header, masked_url};
use crate::output::{printable, short};
use crate::similar::most_similar;
use crate::variables;

/// The settings file that is read if it exists and none is named.
const FILE_DEFAULT: &str = "retraced.toml";
/// The command whose arguments are settings, and the table of the file that holds them.
const WORK: &str = "work";
/// The argument of `work` whose values are headers.
const HEADER: &str = "header";
/// The name of values that are URLs.
const URL: &str = "URL";
/// The argument whose URL is shown with its user: the user of a Redis server is no secret.
const REDIS: &str = "redis";
/// Arguments that are not settings.
const NOT_SETTINGS: [&str; 4] = ["config", "json", "help", "version"];

/// Why no command was run. The exit status is 2, or 0 for help and version.
pub(crate) enum SettingsError {
    /// The arguments or environment variables; help and version arrive as errors too.
    Arguments(Box<clap::Error>),
    /// The settings file.
    File(String),
}

impl From<clap::Error> for SettingsError {
    fn from(error: clap::Error) -> Self {
        SettingsError::Arguments(Box::new(error))
    }
}

/// The settings of this process, and where each comes from.
pub(crate) struct Settings {
    /// All settings, in the order in which their arguments are declared.
    all: Vec<Setting>,
    /// The command line with the file's values as defaults.
    command: Command,
    matches: ArgMatches,
    file: Option<SettingsFile>,
}

/// A flag or positional argument that can also be set in the environment and the file.
struct Setting {
    key: String,
    arg: Arg,
    of_work: bool,
}

/// A setting's value and where it comes from.
pub(crate) struct SettingValue {
    pub(crate) key: String,
    /// `None`: not set.
    pub(crate) value: Option<String>,
    pub(crate) source: Source,
}

/// Where a value comes from.
pub(crate) enum Source {
    Flag,
    Environment(String),
    File { path: PathBuf, line: usize },
    BuiltIn,
    Unset,
}

struct SettingsFile {
    path: PathBuf,
    values: BTreeMap<String, FileValue>,
}

struct FileValue {
    /// The value as it would be written on the command line: one word, or one for each item of a list.
    words: Vec<String>,
    line: usize,
}

impl Settings {
    /// Reads arguments, environment and file.
    pub(crate) fn read(command: &Command, arguments: &[OsString]) -> Result<Self, SettingsError> {
        // An empty variable counts as one that is not set.
        let command = &without_variables(command.clone(), |variable| {
            std::env::var_os(variable).is_some_and(|value| value.is_empty())
        });
        // The command line names the file, and the file may supply required flags that the command line lacks.
        let first = match relaxed(command).try_get_matches_from(arguments) {
            Ok(matches) => matches,
            Err(error) => return Err(command.clone().try_get_matches_from(arguments).err().unwrap_or(error).into()),
        };
        let file = SettingsFile::find(command, first.get_one::<PathBuf>("config")).map_err(SettingsError::File)?;
        let all = settings(command);
        let command = match &file {
            Some(file) => file.become_defaults(command.clone()),
            None => command.clone(),
        };
        let matches = command.clone().try_get_matches_from(arguments)?;
        Ok(Self { all, command, matches, file })
    }

    pub(crate) fn matches(&self) -> &ArgMatches {
        &self.matches
    }

    /// Says which environment variables look like settings and are none.
    pub(crate) fn note_unknown_variables(&self) {
        variables::note_unknown(&self.command);
    }

    /// Whether an argument of `retraced work` was given as a flag, which process lists show.
    pub(crate) fn is_flag(&self, id: &str) -> bool {
        let work = self.matches.subcommand_matches(WORK);
        work.and_then(|work| work.value_source(id)) == Some(ValueSource::CommandLine)
    }

    /// Every setting with its effective value; secrets in URLs are masked. The error names the environment variable that is wrong.
    pub(crate) fn values(&self) -> Result<Vec<SettingValue>, String> {
        let of_work = relaxed(&self.command).try_get_matches_from(["retraced", WORK]).map_err(|error| {
            let text = error.to_string();
            let what = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            match variable_behind(&error, &self.command) {
                Some(variable) => format!("{what} (the value comes from {variable})"),
                None => what,
            }
        })?;
        let of_work = of_work.subcommand_matches(WORK);
        let matches = |setting: &Setting| if setting.of_work { of_work } else { Some(&self.matches) };
        Ok(self.all.iter().filter_map(|setting| Some(self.value_of(setting, matches(setting)?))).collect())
    }

    fn value_of(&self, setting: &Setting, matches: &ArgMatches) -> SettingValue {
        let id = setting.arg.get_id().as_str();
        let in_file =
            || self.file.as_ref().and_then(|file| Some((file.path.clone(), file.values.get(&setting.key)?.line)));
        let source = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Source::Flag,
            Some(ValueSource::EnvVariable) => {
                Source::Environment(setting.arg.get_env().unwrap_or_default().to_string_lossy().into_owned())
            }
            Some(_) => in_file().map_or(Source::BuiltIn, |(path, line)| Source::File { path, line }),
            None => Source::Unset,
        };
        let words = matches.get_raw(id).into_iter().flatten().map(|word| word.to_string_lossy());
        let shown = words.filter(|word| !word.trim().is_empty()).map(|word| setting.masked(&word));
        let value = shown.collect::<Vec<_>>().join(" ");
        SettingValue { key: setting.key.clone(), value: Some(value).filter(|value| !value.is_empty()), source }
    }
}

/// The choice of `--color` or `RETRACED_COLOR`, read before the arguments are parsed, so that it also holds for errors about them.
pub(crate) fn colour_choice(arguments: &[OsString]) -> ColorChoice {
    let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).take_while(|word| word != "--").collect();
    let after = words.iter().position(|word| word == "--color").and_then(|at| words.get(at + 1)).map(|word| &**word);
    let joined = words.iter().find_map(|word| word.strip_prefix("--color="));
    let environment = std::env::var("RETRACED_COLOR").ok();
    match joined.or(after).or(environment.as_deref()) {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

/// The environment variable that supplied the value an error is about, if one did.
pub(crate) fn variable_behind(error: &clap::Error, command: &Command) -> Option<String> {
    let (Some(ContextValue::String(shown)), Some(ContextValue::String(value))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue))
    else {
        return None;
    };
    // Errors show a flag as `--lease <DURATION>`, and a positional argument as `<QUEUE>...` or, if it is optional, `[QUEUE]...`.
    let bare = |shown: &str| match shown.strip_prefix("--") {
        Some(flag) => flag.split(' ').next().unwrap_or_default().to_owned(),
        None => shown.trim_matches(['<', '>', '[', ']', '.']).to_owned(),
    };
    let wanted = bare(shown);
    // Only a built argument knows how it is shown.
    let mut built = command.clone();
    built.build();
    let setting = settings(&built).into_iter().find(|setting| bare(&setting.arg.to_string()) == wanted)?;
    let variable = setting.arg.get_env()?;
    let is_behind = std::env::var_os(variable)?.to_string_lossy().split(',').any(|word| word == value);
    is_behind.then(|| variable.to_string_lossy().into_owned())
}

/// The same command line, except that `retraced work` requires no arguments.
fn relaxed(command: &Command) -> Command {
    command.clone().mut_subcommand(WORK, |work| work.mut_args(|arg| arg.required(false)))
}

/// The same command line, except that arguments do not read the environment variables for which `matches` is true.
fn without_variables(command: Command, matches: impl Fn(&OsStr) -> bool) -> Command {
    let matches = &matches;
    let unset = move |arg: Arg| match arg.get_env().is_some_and(matches) {
        true => arg.env(None::<&'static str>),
        false => arg,
    };
    command.mut_args(unset).mut_subcommand(WORK, |work| work.mut_args(unset))
}

/// The long name of a flag, or the id of a positional argument.
fn name(arg: &Arg) -> &str {
    arg.get_long().unwrap_or_else(|| arg.get_id().as_str())
}

fn settings(command: &Command) -> Vec<Setting> {
    let is_setting = |arg: &&Arg| !NOT_SETTINGS.contains(&name(arg));
    let global = command.get_arguments().filter(is_setting);
    let global = global.map(|arg| Setting { key: name(arg).to_owned(), arg: arg.clone(), of_work: false });
    let work = command.find_subcommand(WORK).into_iter().flat_map(Command::get_arguments).filter(is_setting);
    let work = work.filter(|arg| !arg.is_global_set());
    global
        .chain(work.map(|arg| Setting { key: format!("{WORK}.{}", name(arg)), arg: arg.clone(), of_work: true }))
        .collect()
}

impl SettingsFile {
    /// The named file, or the default one if it exists; the error says what is wrong with it, and where.
    fn find(command: &Command, named: Option<&PathBuf>) -> Result<Option<Self>, String> {
        let path = named.map_or(Path::new(FILE_DEFAULT), PathBuf::as_path);
        let shown = printable(&path.display().to_string());
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(SETTINGS_BYTES_MAX + 1).read_to_string(&mut text));
        match read {
            Ok(read) if read as u64 > SETTINGS_BYTES_MAX => {
                Err(format!("{shown} has more than {SETTINGS_BYTES_MAX} bytes; that is not a settings file"))
            }
            Ok(_) => {
                Self::parse(command, path, &text).map(Some).map_err(|(line, why)| format!("{shown} line {line}: {why}"))
            }
            Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => Ok(None),
            Err(error) => Err(format!("the settings in {shown} cannot be read: {error}")),
        }
    }

    fn parse(command: &Command, path: &Path, text: &str) -> Result<Self, (usize, String)> {
        let line_of = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        // The text around the error may be a password, so only its line is reported.
        let table = DeTable::parse(text).map_err(|error| {
            (line_of(error.span().map_or(0, |span| span.start)), format!("not TOML: {}", error.message()))
        })?;
        let settings = settings(command);
        let mut values = BTreeMap::new();
        let mut take = |key: String, at: usize, value: &Spanned<DeValue<'_>>| {
            let line = line_of(at);
            let setting = settings.iter().find(|setting| setting.key == key);
            let setting = setting.ok_or_else(|| (line, unknown(&key, &settings)))?;
            let words = setting.words(value.get_ref()).and_then(|words| setting.checked(command, words));
            let words = words.map_err(|why| (line, format!("{key}: {why}")))?;
            values.insert(key, FileValue { words, line });
            Ok(())
        };
        for (key, value) in table.get_ref() {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            match value.get_ref() {
                DeValue::Table(work) if name == WORK => {
                    for (key, value) in work {
                        take(format!("{WORK}.{}", printable(key.get_ref())), key.span().start, value)?;
                    }
                }
                _ if name == WORK => return Err((line_of(at), format!("{WORK} is a table: [{WORK}]"))),
                _ => take(printable(name), at, value)?,
            }
        }
        Ok(Self { path: path.to_owned(), values })
    }

    fn become_defaults(&self, command: Command) -> Command {
        let all = settings(&command);
        all.into_iter().fold(command, |command, setting| {
            let Some(value) = self.values.get(&setting.key) else { return command };
            let words = value.words.clone();
            let id = setting.arg.get_id().as_str().to_owned();
            let with_default = move |arg: Arg| arg.required(false).default_values(words);
            match setting.of_work {
                true => command.mut_subcommand(WORK, |work| work.mut_arg(id, with_default)),
                false => command.mut_arg(id, with_default),
            }
        })
    }
}

fn unknown(key: &str, settings: &[Setting]) -> String {
    let known: Vec<&str> = settings.iter().map(|setting| setting.key.as_str()).collect();
    // Keys of the table are often written above it.
    let of_work = format!("{WORK}.{key}");
    let in_table = known.iter().copied().find(|known| *known == of_work);
    let meant = in_table.or_else(|| most_similar(key, known.iter().copied()));
    let meant = meant.map_or_else(String::new, |meant| format!(" ({meant} may be meant)"));
    format!("unknown key {}{meant}; known keys are {}", short(key, REFUSED_VALUE_CHARS_MAX), known.join(", "))
}

impl Setting {
    /// The file's value as it would be written on the command line, if it has the right type.
    fn words(&self, value: &DeValue<'_>) -> Result<Vec<String>, String> {
        let is_list = matches!(self.arg.get_action(), ArgAction::Append);
        match value {
            DeValue::Boolean(on) if self.is_switch() => Ok(vec![on.to_string()]),
            _ if self.is_switch() => Err(format!("expected true or false, not {}", type_of(value))),
            DeValue::Array(items) if is_list => {
                let word = |item: &Spanned<DeValue<'_>>| item.get_ref().as_str().map(str::to_owned);
                let words: Option<Vec<String>> = items.iter().map(word).collect();
                words
                    .filter(|words| !words.is_empty())
                    .ok_or_else(|| "expected a list of one or more strings".to_owned())
            }
            DeValue::String(text) => Ok(vec![text.to_string()]),
            DeValue::Integer(number) if self.is_number() => Ok(vec![number.to_string()]),
            _ if is_list => Err(format!("expected a list of strings, not {}", type_of(value))),
            _ if self.is_number() => Err(format!("expected a whole number, not {}", type_of(value))),
            _ => Err(format!("expected a string, not {}", type_of(value))),
        }
    }

    /// The value without its secrets. Of a header only the name is shown, because all of its value may be secret.
    fn masked(&self, text: &str) -> String {
        if name(&self.arg) == HEADER {
            return masked_header(text);
        }
        match self.arg.get_value_names() {
            Some([name]) if name == URL => masked_url(text, self.key == REDIS),
            _ => printable(text),
        }
    }

    fn is_switch(&self) -> bool {
        matches!(self.arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse)
    }

    fn is_number(&self) -> bool {
        let parsed = self.arg.get_value_parser().type_id();
        let numbers =
            [TypeId::of::<u8>(), TypeId::of::<u16>(), TypeId::of::<u32>(), TypeId::of::<u64>(), TypeId::of::<usize>()];
        numbers.into_iter().any(|number| parsed == number)
    }

    /// The words, if the argument accepts them.
    fn checked(&self, command: &Command, words: Vec<String>) -> Result<Vec<String>, String> {
        if self.is_switch() {
            return Ok(words);
        }
        let mut line = vec!["retraced".to_owned()];
        line.extend(self.of_work.then(|| WORK.to_owned()));
        if self.arg.is_positional() {
            line.push("--".to_owned());
            line.extend(words.iter().cloned());
        } else {
            line.extend(words.iter().map(|word| format!("--{}={word}", name(&self.arg))));
        }
        // Without the environment, whose errors are not about this value.
        match without_variables(relaxed(command), |_| true).try_get_matches_from(line) {
            Err(error) if error.kind() == Misuse::ValueValidation => {
                Err(error.source().map_or_else(|| "invalid value".to_owned(), ToString::to_string))
            }
            Err(error) if error.kind() == Misuse::InvalidValue => Err(match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(values)) if !values.is_empty() => {
                    format!("expected one of {}", values.join(", "))
                }
                _ => "a value is needed".to_owned(),
            }),
            // Any other error, such as a missing argument, is not about this value.
            _ => Ok(words),
        }
    }
}

/// The type of a value, with its article.
fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory;

    use super::*;
    use crate::commands::Cli;

    fn parse(text: &str) -> Result<SettingsFile, (usize, String)> {
        SettingsFile::parse(&Cli::command(), Path::new("retraced.toml"), text)
    }

    #[test]
    fn errors_in_the_settings_file_are_reported_with_line_and_key() {
        for (text, line, why) in [
            (
                "\nrediss = \"x\"",
                2,
                "unknown key rediss (redis may be meant); known keys are redis, prefix, tls-ca, tls-cert, tls-key, tls-server-name, allow-eviction, color, work.queue",
            ),
            ("[work]\nleese = \"x\"", 2, "unknown key work.leese (work.lease may be meant); known keys are"),
            ("[works]\n", 1, "unknown key works"),
            ("lease = \"5s\"", 1, "unknown key lease (work.lease may be meant)"),
            ("work = 1", 1, "work is a table: [work]"),
            ("redis = 6379", 1, "redis: expected a string, not a number"),
            ("redis = [\"a\"]", 1, "redis: expected a string, not a list"),
            ("prefix = \"a:b\"", 1, "prefix: invalid key prefix \"a:b\": character 2 is ':'"),
            ("color = \"pink\"", 1, "color: expected one of auto, always, never"),
            ("\n\n[work]\nlease = \"1ms\"", 4, "work.lease: must be between 300ms and 1h"),
            ("[work]\nlease = 30", 2, "work.lease: expected a string, not a number"),
            ("[work]\nqueue = true", 2, "work.queue: expected a list of strings, not true or false"),
            ("[work]\nqueue = [\"a\", 2]", 2, "work.queue: expected a list of one or more strings"),
            ("[work]\nqueue = []", 2, "work.queue: expected a list of one or more strings"),
            ("[work]\nqueue = [\n\"a\",\n\"b=0\"]", 2, "work.queue: concurrency must be 1 to 10000"),
            ("color = \"auto\"\ncolor = \"auto\"", 2, "not TOML: duplicate key"),
            ("color = \"auto\"\nredis = \"redis://:sesame@h", 2, "not TOML: "),
            ("json = true", 1, "unknown key json"),
        ] {
            let (at, message) = parse(text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(at == line && message.contains(why) && !message.contains("sesame"), "{text}: {at}: {message}");
        }
    }

    #[test]
    fn every_setting_has_an_environment_variable_and_takes_its_default_from_the_file() {
        for setting in settings(&Cli::command()) {
            let variable = setting.arg.get_env().unwrap_or_default().to_string_lossy();
            assert!(variable.starts_with("RETRACED_"), "{} has none: {variable}", setting.key);
        }
        let file = parse("redis = \"redis://h\"\n[work]\nqueue = [\"a=2\", \"b\"]\nwebhook = \"http://x/\"").unwrap();
        let command = file.become_defaults(Cli::command());
        command.clone().debug_assert();
        let matches = command.try_get_matches_from(["retraced", "work", "--lease", "5s"]).unwrap();
        assert_eq!(matches.get_one::<String>("redis").unwrap(), "redis://h");
        let work = matches.subcommand_matches(WORK).unwrap();
        let queues: Vec<_> = work.get_raw("queue").unwrap().map(|q| q.to_string_lossy().into_owned()).collect();
        assert_eq!(queues, ["a=2", "b"]);
    }

    #[test]
    fn no_secret_of_a_header_is_shown_and_no_other_value_is_hidden() {
        let all = settings(&Cli::command());
        let shown = |key: &str, text| all.iter().find(|setting| setting.key == key).unwrap().masked(text);
        assert_eq!(shown("work.header", "authorization=Bearer a-secret"), "authorization=***");
        assert_eq!(shown("work.queue", "email=50"), "email=50");
    }

    #[test]
    fn text_that_is_no_url_of_a_server_is_not_shown_where_a_url_belongs() {
        let all = settings(&Cli::command());
        for (key, text, shown) in [
            ("work.proxy", "tok3n:pw@127.0.0.1:1", "(not shown: it is not the URL of a server)"),
            ("work.proxy", "tok3n:pw", "(not shown: it is not the URL of a server)"),
            ("work.proxy", "http://tok3n@h:1", "http://***@h:1/"),
            ("work.proxy", "http://me:pw@h:1", "http://***:***@h:1/"),
            ("work.webhook", "https:h/hook?token=pw", "https://h/hook?***"),
            ("work.webhook", "mailto:tok3n", "(not shown: it is not the URL of a server)"),
            ("work.webhook", "https://tok3n@h/", "https://***@h/"),
            ("redis", "redis://me:pw@h:1/2", "redis://me:***@h:1/2"),
            ("redis", "redis:tok3n", "(not shown: it is not the URL of a server)"),
            ("redis", "redis+unix:///tmp/r.sock?pass=pw", "redis+unix:///tmp/r.sock?***"),
        ] {
            let setting = all.iter().find(|setting| setting.key == key).unwrap();
            assert_eq!(setting.masked(text), shown, "{key}");
        }
    }
}
