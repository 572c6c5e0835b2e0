//! Reads the URL of a server. What it asks for is done or refused, never ignored.

use redis::{ConnectionInfo, IntoConnectionInfo};

use crate::limits::redis::URL_PARAMETER_SHOWN_MAX;

/// Parameters of a URL, after `?`, for servers behind a network address.
const OF_HOSTS: [&str; 1] = ["protocol"];
/// Parameters of a URL for servers behind a Unix socket. Such a URL has no other place for database, user and password.
const OF_SOCKETS: [&str; 4] = ["db", "user", "pass", "protocol"];

/// What the URL says, or why it is refused. The reason has no secrets: texts of the `redis` crate could quote the URL, and with it the password, so they are not used.
pub(super) fn read(url: &str) -> Result<ConnectionInfo, String> {
    const UNREADABLE: &str = "the Redis URL cannot be read; write redis://[user:password@]host[:port][/database], or rediss:// for TLS; in a password, write %23 for #, %3F for ?, %2F for / and %40 for @";
    let parsed = redis::parse_redis_url(url).ok_or(UNREADABLE)?;
    let is_socket = parsed.scheme().ends_with("unix");
    if matches!(parsed.scheme(), "rediss" | "valkeys") {
        require_tls()?;
    }
    let known: &[&str] = if is_socket { &OF_SOCKETS } else { &OF_HOSTS };
    let mut given: Vec<String> = Vec::new();
    for (name, value) in parsed.query_pairs() {
        if !known.contains(&&*name) {
            return Err(unknown(&name, known));
        }
        if given.iter().any(|other| *other == name) {
            return Err(format!("the Redis URL has the parameter {name} twice; give it once"));
        }
        if name == "protocol" && !matches!(&*value, "2" | "resp2" | "3" | "resp3") {
            return Err("the Redis URL's parameter protocol must be 2 or 3, the version of RESP".into());
        }
        given.push(name.into_owned());
    }
    if parsed.fragment().is_some() {
        return Err("the Redis URL has a part after #, which is not used; in a password, write %23 for #".into());
    }
    parsed.into_connection_info().map_err(|_| UNREADABLE.to_owned())
}

fn require_tls() -> Result<(), &'static str> {
    if cfg!(feature = "tls") {
        return Ok(());
    }
    Err("a rediss:// URL needs TLS, which this build does not have; enable the feature `tls` of the crate `retraced`")
}

fn unknown(name: &str, known: &[&str]) -> String {
    let advice = match name {
        "db" => "write the database behind the host: redis://HOST/5".to_owned(),
        "user" | "pass" => {
            "write user and password in front of the host: redis://[user:password@]host[:port]".to_owned()
        }
        _ => format!("known here: {}; in a password, write %3F for ?", known.join(", ")),
    };
    // What is no name may be the end of a password that has a question mark.
    let is_name =
        name.len() <= URL_PARAMETER_SHOWN_MAX && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let shown = if is_name && !name.is_empty() { format!("parameter {name}") } else { "parameter (not shown)".into() };
    format!("the Redis URL has the unknown {shown}; {advice}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_unknown_parameter_is_refused_by_name_and_never_ignored() {
        for (url, told) in [
            ("redis://h?db=5", "unknown parameter db; write the database behind the host: redis://HOST/5"),
            ("redis://h?pass=canary", "unknown parameter pass; write user and password in front of the host"),
            ("redis://h/1?timeout=5", "unknown parameter timeout; known here: protocol"),
            ("redis://h?protocol=2&DB=5", "unknown parameter DB; known here"),
            ("redis+unix:///s?database=5", "unknown parameter database; known here: db, user, pass, protocol"),
            ("redis+unix:///s?db=1&db=2", "the parameter db twice"),
            ("redis+unix:///s?db=canary", "cannot be read"),
            ("redis://h?protocol=canary", "protocol must be 2 or 3"),
            ("redis://h?=5", "parameter (not shown)"),
            ("redis://u:6?canary@h", "parameter (not shown)"),
            ("redis://h#canary", "a part after #"),
            ("redis+unix:///s?pass=a#canary", "a part after #"),
            ("redis://u:a#canary@h", "cannot be read"),
            ("redis://h/canary", "cannot be read"),
            ("redis://h/1/2", "cannot be read"),
            ("", "cannot be read"),
        ] {
            let reason = read(url).unwrap_err();
            assert!(reason.contains(told) && !reason.contains("canary"), "{url}: {reason}");
        }
    }

    #[test]
    fn a_known_parameter_is_honoured() {
        let socket = read("redis+unix:///s?db=5&user=me&pass=secret&protocol=3").unwrap();
        let settings = socket.redis_settings();
        assert_eq!((settings.db(), settings.username(), settings.password()), (5, Some("me"), Some("secret")));
        assert_eq!(settings.protocol(), redis::ProtocolVersion::RESP3);
        let host = read("redis://me:a%23%3Fb@h/5?protocol=2").unwrap();
        assert_eq!((host.redis_settings().db(), host.redis_settings().password()), (5, Some("a#?b")));
        assert_eq!(host.redis_settings().protocol(), redis::ProtocolVersion::RESP2);
    }
}
