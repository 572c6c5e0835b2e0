//! Reads the lines of `enqueue --from`, and makes a job of each.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use retraced::job::{NewJob, RunAt};
use retraced::retry::RetryOverrides;
use retraced::{JobId, Kind};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::requested_job::RequestedJob;
use crate::args;
use crate::limits::{LINE_BYTES_MAX, READ_BYTES_MAX};
use crate::output::printable;

/// A line of `--from`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    kind: Kind,
    #[serde(borrow)]
    payload: &'a RawValue,
    id: Option<JobId>,
    delay_ms: Option<u64>,
    at: Option<String>,
    max_attempts: Option<u32>,
    retry: Option<RetryOverrides>,
}

impl Line<'_> {
    fn seal(text: &str) -> Result<NewJob, String> {
        let line: Line = serde_json::from_str(text).map_err(|e| why(text, &e))?;
        let run_at = match (line.delay_ms, line.at) {
            (Some(_), Some(_)) => return Err("delay_ms and at cannot be given together".into()),
            (Some(ms), None) => {
                RunAt::After(args::due_after(Duration::from_millis(ms)).map_err(|e| format!("delay_ms: {e}"))?)
            }
            (None, Some(at)) => RunAt::At(args::instant(&at).map_err(|e| format!("at: {e}"))?),
            (None, None) => RunAt::Now,
        };
        let mut retry = line.retry.unwrap_or_default();
        if retry.max_attempts.is_some() && line.max_attempts.is_some() {
            return Err("max_attempts is given twice: inside retry and beside it".into());
        }
        retry.max_attempts = retry.max_attempts.or(line.max_attempts);
        let payload = args::payload(line.payload.get())?;
        RequestedJob { kind: line.kind, payload, id: line.id, run_at, retry }.seal()
    }
}

/// Why a line is no job. The parser's message comes without its line number, which is always 1, because the parser is given one line at a time.
fn why(text: &str, error: &serde_json::Error) -> String {
    if text.starts_with('\u{feff}') {
        return "it begins with a byte order mark; save the file as UTF-8 without one".into();
    }
    if !text.starts_with('{') {
        return "it is not a JSON object; write one object per line, without brackets around them and without commas between them".into();
    }
    if error.is_eof() {
        return "it ends before its JSON object does; write each object in one line".into();
    }
    let why = error.to_string().replace(" at line 1 column ", " at column ");
    if why.contains("surrogate") || why.contains("hex escape") {
        return "it has a text with half of a surrogate pair, such as \\ud800 alone, which stands for no character"
            .into();
    }
    why.replace("expected ident", "a word that is not true, false or null")
}

/// Reads jobs, one per line; empty lines are skipped.
pub(super) struct Lines {
    reader: BufReader<Box<dyn Read>>,
    /// How messages name the source.
    pub(super) name: String,
    /// The number of the line that was read last, from 1.
    pub(super) number: u64,
}

impl Lines {
    pub(super) fn new(source: Box<dyn Read>, name: String) -> Self {
        Self { reader: BufReader::with_capacity(READ_BYTES_MAX, source), name, number: 0 }
    }

    /// Whether the next line has not arrived completely. Jobs that were already read are then sent without waiting for it.
    pub(super) fn must_wait(&self) -> bool {
        !self.reader.buffer().contains(&b'\n')
    }

    /// The next job. The error names the line and the reason.
    pub(super) fn next(&mut self) -> Result<Option<NewJob>, String> {
        loop {
            let mut line = Vec::new();
            self.number += 1;
            let broken = |why: String| Err(format!("line {} of {}: {}", self.number, self.name, printable(&why)));
            let limit = LINE_BYTES_MAX as u64 + 1;
            match self.reader.by_ref().take(limit).read_until(b'\n', &mut line) {
                Ok(0) => return Ok(None),
                Ok(read) if read as u64 == limit => return broken(format!("it has more than {LINE_BYTES_MAX} bytes")),
                Ok(_) => {}
                Err(error) => return broken(format!("it cannot be read: {error}")),
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            return match std::str::from_utf8(line.trim_ascii()) {
                Ok(text) => Line::seal(text).map(Some).or_else(broken),
                Err(error) => broken(format!("it is not UTF-8: {error}")),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lines(text: &str) -> Lines {
        Lines::new(Box::new(std::io::Cursor::new(text.to_owned())), "jobs.jsonl".into())
    }

    #[test]
    fn a_broken_line_is_named_with_the_reason() {
        let good = "{\"kind\":\"k\",\"payload\":1}\n";
        for (bad, why) in [
            ("{\"kind\":\"k\"}", "missing field `payload`"),
            ("{\"kind\":\"a b\",\"payload\":1}", "invalid kind"),
            ("{\"kind\":\"k\",\"payload\":1,\"dealy_ms\":5}", "unknown field `dealy_ms`"),
            ("{\"kind\":\"k\",\"payload\":1,\"max_attempts\":0}", "max attempts is 0"),
            (
                "{\"kind\":\"k\",\"payload\":1,\"delay_ms\":1,\"at\":\"2030-01-01T00:00:00Z\"}",
                "cannot be given together",
            ),
            ("{\"kind\":\"k\",\"payload\":1,\"at\":\"tomorrow\"}", "RFC 3339"),
            ("{\"kind\":", "it ends before its JSON object does"),
            ("[{\"kind\":\"k\",\"payload\":1}]", "it is not a JSON object"),
            ("{\"kind\":\"k\",\"payload\":nope}", "a word that is not true, false or null at column"),
            ("{\"kind\":\"k\",\"payload\":[\"\\ud800\"]}", ": payload has a text with half of a surrogate pair"),
            ("{\"kind\":\"k\",\"payload\":1,\"id\":\"\\ud800\"}", "half of a surrogate pair"),
            ("{\"kind\":\"k\",\"payload\":{\"$base64\":5}}", ": payload has an object whose only key"),
            ("{\"kind\":\"k\",\"payload\":1,\"delay_ms\":999999999999999999}", "delay_ms: it ends after 9999"),
            (
                "{\"kind\":\"k\",\"payload\":1,\"at\":\"2030-02-30T00:00:00Z\"}",
                "at: the calendar has no day 2030-02-30",
            ),
            ("\u{feff}{\"kind\":\"k\",\"payload\":1}", "it begins with a byte order mark"),
        ] {
            let mut lines = lines(&format!("{good}\n{good}{bad}\n{good}"));
            assert!(lines.next().unwrap().is_some() && lines.next().unwrap().is_some());
            let error = lines.next().unwrap_err();
            assert!(error.starts_with("line 4 of jobs.jsonl: ") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn settings_that_are_null_are_settings_that_are_not_given() {
        let line = r#"{"kind":"k","payload":null,"id":"a","retry":null,"delay_ms":null,"at":null,"max_attempts":null}"#;
        let job = lines(line).next().unwrap().unwrap();
        assert!(retraced::codec::open(&job.envelope).unwrap().retry.is_empty());
    }

    #[test]
    fn an_endless_line_is_refused_at_the_bound() {
        let endless = std::io::repeat(b'x');
        let error = Lines::new(Box::new(endless), "endless".into()).next().unwrap_err();
        assert_eq!(error, "line 1 of endless: it has more than 8388608 bytes");
    }
}
