//! The compact encoding of a decision, as it is stored with a failed attempt: field names of one letter, which saves some 80 bytes.
//! Records with the long names can be read as well.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Decision, RetryOutcome, Strategy, Why};

#[derive(Serialize, Deserialize)]
#[serde(remote = "Decision")]
struct Compact {
    #[serde(rename = "o", alias = "outcome")]
    outcome: RetryOutcome,
    #[serde(rename = "y", alias = "why")]
    why: Why,
    #[serde(rename = "s", alias = "strategy")]
    strategy: Strategy,
    n: u32,
    #[serde(rename = "a", alias = "max_attempts")]
    max_attempts: u32,
    #[serde(rename = "l", alias = "attempts_left")]
    attempts_left: u32,
    #[serde(rename = "b", alias = "base_ms")]
    base_ms: u64,
    #[serde(rename = "f", alias = "factor")]
    factor: u32,
    #[serde(rename = "m", alias = "max_ms")]
    max_ms: u64,
    #[serde(rename = "j", alias = "jitter_percent")]
    jitter_percent: u8,
    #[serde(rename = "d", alias = "jitter_drawn")]
    jitter_drawn: i16,
    #[serde(rename = "i", alias = "immediate_tries", default, skip_serializing_if = "Option::is_none")]
    immediate_tries: Option<u32>,
    #[serde(rename = "r", alias = "retry_after_ms", default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(rename = "w", alias = "delay_ms")]
    delay_ms: u64,
    #[serde(rename = "u", alias = "class_unknown", default, skip_serializing_if = "std::ops::Not::not")]
    class_unknown: bool,
}

pub(crate) fn serialize<S: Serializer>(decision: &Option<Box<Decision>>, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Borrowed<'a>(#[serde(with = "Compact")] &'a Decision);
    decision.as_deref().map(Borrowed).serialize(to)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<Decision>>, D::Error> {
    #[derive(Deserialize)]
    struct Owned(#[serde(with = "Compact")] Decision);
    Ok(Option::<Owned>::deserialize(from)?.map(|Owned(decision)| Box::new(decision)))
}
