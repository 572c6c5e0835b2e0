//! Parsers for the values of options: durations, instants, failure codes, job states, JSON, and queues with a concurrency.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;
use retraced::limits::{CONCURRENCY_MAX, LEASE_MAX, LEASE_MIN, SHUTDOWN_GRACE_MAX};
use retraced::{Code, JobState, QueueName, codec};

use crate::limits::{DURATION_MAX, RATES_OVER_BOUNDS, REQUEST_TIMEOUT_BOUNDS};
use crate::output::{millis, now_ms};

/// Parses a whole number and a unit: `250ms`, `30s`, `5m`, `1h`, `2d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let bounded = any_duration(text)?.filter(|duration| *duration <= DURATION_MAX);
    bounded.ok_or_else(|| format!("longer than {} days", DURATION_MAX.as_secs() / 86_400))
}

/// A duration of any length; `None` when its milliseconds cannot be counted.
fn any_duration(text: &str) -> Result<Option<Duration>, String> {
    const HOW: &str = "write a whole number and a unit: 250ms, 30s, 5m, 1h or 2d";
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(|| format!("the unit is missing; {HOW}"))?;
    let (number, unit) = text.split_at(unit_at);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(HOW.into()),
    };
    if number.is_empty() {
        return Err(HOW.into());
    }
    Ok(number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit_ms)).map(Duration::from_millis))
}

/// Parses a duration until a job is due.
pub(crate) fn delay(text: &str) -> Result<Duration, String> {
    due_after(any_duration(text)?.unwrap_or(Duration::MAX))
}

/// The delay, unless it ends after the last instant that [`instant`] reads.
pub(crate) fn due_after(delay: Duration) -> Result<Duration, String> {
    let due_ms = now_ms().checked_add(millis(delay));
    match due_ms.is_some_and(|due_ms| due_ms <= Timestamp::MAX.as_millisecond().unsigned_abs()) {
        true => Ok(delay),
        false => Err(format!("it ends after {LATEST}")),
    }
}

/// Parses a duration that must lie within these bounds.
fn within(text: &str, (least, most): (Duration, Duration)) -> Result<Duration, String> {
    let duration = duration(text)?;
    if (least..=most).contains(&duration) {
        return Ok(duration);
    }
    Err(format!("must be between {} and {}", shown(least), shown(most)))
}

/// The duration as it is written in an option.
pub(crate) fn shown(duration: Duration) -> String {
    match duration.as_secs() {
        secs if secs >= 86_400 && secs % 86_400 == 0 => format!("{}d", secs / 86_400),
        secs if secs >= 3600 && secs % 3600 == 0 => format!("{}h", secs / 3600),
        secs if secs > 0 => format!("{secs}s"),
        _ => format!("{}ms", duration.as_millis()),
    }
}

pub(crate) fn lease(text: &str) -> Result<Duration, String> {
    within(text, (LEASE_MIN, LEASE_MAX))
}

pub(crate) fn shutdown_grace(text: &str) -> Result<Duration, String> {
    within(text, (Duration::ZERO, SHUTDOWN_GRACE_MAX))
}

pub(crate) fn request_timeout(text: &str) -> Result<Duration, String> {
    within(text, REQUEST_TIMEOUT_BOUNDS)
}

/// Parses a number of bytes with its unit: `64MiB`, `1GiB`, `1048576B`. A number without a unit is refused: hardly anybody means bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    const HOW: &str = "write a whole number and a unit: 1024B, 512KiB, 256MiB or 2GiB";
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(|| format!("the unit is missing; {HOW}"))?;
    let (number, unit) = text.split_at(unit_at);
    let bytes_each: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(HOW.into()),
    };
    if number.is_empty() {
        return Err(HOW.into());
    }
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(bytes_each)).ok_or_else(|| "too many bytes".into())
}

/// The number of bytes as it is written in an option.
pub(crate) fn shown_bytes(bytes: u64) -> String {
    match bytes {
        bytes if bytes > 0 && bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        bytes => format!("{bytes}B"),
    }
}

/// Parses an address and a port to listen on.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an address and a port, as in 127.0.0.1:8081, 0.0.0.0:8081 or [::1]:8081".into())
}

pub(crate) fn rates_over(text: &str) -> Result<Duration, String> {
    within(text, RATES_OVER_BOUNDS)
}

/// Parses an instant in RFC 3339 into milliseconds since the Unix epoch. An instant before the epoch becomes the epoch.
pub(crate) fn instant(text: &str) -> Result<u64, String> {
    let at: Timestamp = text.parse().map_err(|_| not_an_instant(text))?;
    Ok(u64::try_from(at.as_millisecond()).unwrap_or(0))
}

/// The last instant that can be given, in words.
const LATEST: &str = "9999-12-30T22:00:00Z, the latest instant that can be given";

/// Why this text is no instant.
fn not_an_instant(text: &str) -> String {
    let how = "write an instant in RFC 3339 with its offset, as in 2030-01-31T08:00:00Z";
    let (Some(date), Some(rest)) = (text.get(..10), text.get(10..)) else { return how.into() };
    let numbers: Vec<_> = date.splitn(3, '-').map(str::parse::<i16>).collect();
    let [Ok(year), Ok(month), Ok(day)] = numbers[..] else { return how.into() };
    let day = i8::try_from(month).and_then(|month| i8::try_from(day).map(|day| (month, day)));
    if !day.is_ok_and(|(month, day)| jiff::civil::Date::new(year, month, day).is_ok()) {
        return format!("the calendar has no day {date}");
    }
    let time = rest.trim_start_matches(['T', 't', ' ']);
    let (time, offset) = time.find(['Z', 'z', '+', '-']).map_or((time, ""), |at| time.split_at(at));
    if time.is_empty() && offset.is_empty() {
        return format!("the time is missing; {how}");
    }
    match time.parse::<jiff::civil::Time>() {
        Ok(_) if offset.is_empty() => format!("the offset is missing; {how}"),
        Ok(_) if year == 9999 => format!("it is later than {LATEST}"),
        Ok(_) => how.into(),
        Err(_) => format!("no day has the time {time:?}; {how}"),
    }
}

/// The value of `--since` or `--until`, in ms since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct When(pub(crate) u64);

/// Parses a duration before now, or an instant.
pub(crate) fn when(text: &str) -> Result<When, String> {
    if let Ok(ago) = duration(text) {
        return Ok(When(now_ms().saturating_sub(millis(ago))));
    }
    let how = "write how long ago, as in 30m or 2d, or an instant in RFC 3339, as in 2030-01-31T08:00:00Z";
    instant(text).map(When).map_err(|_| how.to_owned())
}

/// Parses a failure code in any case, if the argument has `ignore_case`, by which the list of values is compared. Help and completions list all of them.
pub(crate) fn code() -> impl TypedValueParser<Value = Code> {
    PossibleValuesParser::new(Code::ALL.map(Code::as_str)).try_map(|text| text.to_ascii_uppercase().parse::<Code>())
}

/// Parses a job state in any case, as [`code`] does. Help and completions list all of them.
pub(crate) fn state() -> impl TypedValueParser<Value = JobState> {
    one_of(JobState::ALL)
}

/// Parses the state of a job that has not ended.
pub(crate) fn unfinished_state() -> impl TypedValueParser<Value = JobState> {
    one_of(JobState::ALL.into_iter().filter(|state| !state.is_final()))
}

fn one_of(states: impl IntoIterator<Item = JobState>) -> impl TypedValueParser<Value = JobState> {
    PossibleValuesParser::new(states.into_iter().map(JobState::as_str))
        .try_map(|text| text.to_ascii_lowercase().parse::<JobState>())
}

/// Parses a job's data, given as JSON.
pub(crate) fn payload(text: &str) -> Result<Bytes, String> {
    codec::from_json_text(text).map(Bytes::from).map_err(|error| error.to_string())
}

/// Parses a whole number that is not negative.
pub(crate) fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => "this number is too large".into(),
        false => "write a whole number, such as 5".into(),
    })
}

/// A queue to work on: `email` or `email=50`.
#[derive(Debug, Clone)]
pub(crate) struct WorkedQueue {
    pub(crate) name: QueueName,
    pub(crate) concurrency: Option<usize>,
}

impl FromStr for WorkedQueue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // People write a space after the comma of a list.
        let text = text.trim();
        let (name, concurrency) = match text.split_once('=') {
            None => (text, None),
            Some((_, number)) if number.trim_start().contains(char::is_whitespace) => {
                return Err("separate queues by commas, as in a=3,b".into());
            }
            Some((name, number)) => {
                let number = number.trim().parse().ok().filter(|n| (1..=CONCURRENCY_MAX).contains(n));
                (name, Some(number.ok_or_else(|| format!("concurrency must be 1 to {CONCURRENCY_MAX}"))?))
            }
        };
        Ok(Self { name: QueueName::new(name).map_err(|e| e.to_string())?, concurrency })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_list_of_queues_may_have_spaces_after_its_commas() {
        let worked: WorkedQueue = " mail=5".parse().unwrap();
        assert_eq!((worked.name.as_str(), worked.concurrency), ("mail", Some(5)));
    }

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, ms) in [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "1.5s", "-1s", "5 s", "99999999999999999999s", "4000d", "1w"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_read_as_people_write_them_and_defaults_can_be_given_again() {
        for (text, count) in
            [("0B", 0), ("1048576B", 1 << 20), ("512KiB", 1 << 19), ("256MiB", 1 << 28), ("2GiB", 1 << 31)]
        {
            assert_eq!(bytes(text), Ok(count), "{text}");
            assert_eq!(bytes(&shown_bytes(count)), Ok(count), "{text}");
        }
        for text in ["", "0", "256", "MiB", "1MB", "1.5GiB", "-1", "1 MiB", "99999999999999999999", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        let days = Duration::from_secs(90 * 86_400);
        assert_eq!((shown(days).as_str(), duration(&shown(days))), ("90d", Ok(days)));
    }

    #[test]
    fn an_instant_that_is_none_is_refused_with_what_is_wrong_with_it() {
        assert_eq!(instant("9999-12-30T22:00:00Z"), Ok(253_402_207_200_000));
        for (text, why) in [
            ("2030-02-30T08:00:00Z", "the calendar has no day 2030-02-30"),
            ("2030-13-01T08:00:00Z", "the calendar has no day 2030-13-01"),
            ("9999-12-31T00:00:00Z", "it is later than 9999-12-30T22:00:00Z"),
            ("9999-12-31T23:59:59-08:00", "it is later than 9999-12-30T22:00:00Z"),
            ("2030-01-31T08:00:00", "the offset is missing"),
            ("2030-01-31T25:00:00Z", "no day has the time \"25:00:00\""),
            ("2030-01-31", "the time is missing; write an instant"),
            ("tomorrow", "write an instant in RFC 3339"),
            ("2030-01-31T08:00:00Zulu", "write an instant in RFC 3339"),
            ("", "write an instant in RFC 3339"),
            ("30. Februar 2030ä", "write an instant in RFC 3339"),
        ] {
            let refused = instant(text).unwrap_err();
            assert!(refused.starts_with(why), "{text}: {refused}");
        }
    }

    #[test]
    fn a_delay_is_never_refused_if_its_instant_is_accepted() {
        assert_eq!(delay("99999d"), Ok(Duration::from_secs(99_999 * 86_400)));
        for text in ["9999999d", "99999999999999999999d"] {
            assert!(delay(text).unwrap_err().starts_with("it ends after 9999-12-30"), "{text}");
        }
    }

    #[test]
    fn numbers_are_refused_in_words_of_this_program() {
        assert_eq!(whole::<u8>("7"), Ok(7));
        assert_eq!(whole::<u8>("seven").unwrap_err(), "write a whole number, such as 5");
        assert_eq!(whole::<u8>("256").unwrap_err(), "this number is too large");
    }

    #[test]
    fn a_time_is_a_duration_before_now_or_an_instant() {
        assert_eq!(when("1970-01-01T00:00:01Z"), Ok(When(1_000)));
        let When(ms) = when("1h").unwrap();
        assert!(now_ms() - ms >= 3_600_000 && now_ms() - ms < 3_700_000);
        assert!(when("yesterday").unwrap_err().starts_with("write how long ago"));
    }

    #[test]
    fn bounds_are_reported_as_options_are_written() {
        assert_eq!(lease("1ms").unwrap_err(), "must be between 300ms and 1h");
    }

    #[test]
    fn a_queue_is_given_with_or_without_its_concurrency() {
        let queue: WorkedQueue = "email=50".parse().unwrap();
        assert_eq!((queue.name.as_str(), queue.concurrency), ("email", Some(50)));
        for text in ["", "a b", "email=", "email=0", "email=99999", "email=x"] {
            assert!(text.parse::<WorkedQueue>().is_err(), "{text}");
        }
        assert_eq!("a= 3".parse::<WorkedQueue>().unwrap().concurrency, Some(3));
        assert_eq!("a=3 b".parse::<WorkedQueue>().unwrap_err(), "separate queues by commas, as in a=3,b");
    }
}
