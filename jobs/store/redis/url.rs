//! Reads the URL of a server. What it asks for is done or refused, never ignored.

use redis::{ConnectionInfo, IntoConnectionInfo};
use url::{ParseError, Url};

use crate::limits::redis::URL_PARAMETER_SHOWN_MAX;

/// Parameters of a URL, after `?`, for servers behind a network address.
const OF_HOSTS: [&str; 1] = ["protocol"];
/// Parameters of a URL for servers behind a Unix socket. Such a URL has no other place for database, user and password.
const OF_SOCKETS: [&str; 4] = ["db", "user", "pass", "protocol"];

/// What the URL of a server may begin with, as the `redis` crate reads it.
const SCHEMES: [&str; 7] = ["redis", "rediss", "valkey", "valkeys", "redis+unix", "valkey+unix", "unix"];

/// How to write a character in a password that would end it.
macro_rules! with_password_advice {
    ($said:literal) => {
        concat!($said, "; in a password, write %23 for #, %3F for ?, %2F for / and %40 for @")
    };
}

const FORM: &str = with_password_advice!(
    "the Redis URL cannot be read; write redis://[user:password@]host[:port][/database], rediss:// for TLS, or redis+unix:///path for a socket"
);
const SCHEME: &str = "the Redis URL must begin with redis://, rediss:// for TLS, or redis+unix:// for a socket (or the same with valkey)";
const PORT: &str = with_password_advice!("the port in the Redis URL must be a number from 1 to 65535");
const HOST: &str = with_password_advice!("the Redis URL names no host; write one, as in redis://localhost:6379");
const DATABASE: &str = with_password_advice!(
    "the database in the Redis URL, behind its host, must be a number, as in redis://localhost/5"
);

/// What the URL says, or why it is refused. The reason has no secrets: texts of the `redis` crate could quote the URL, and with it the password, so they are not used.
pub(super) fn read(url: &str) -> Result<ConnectionInfo, String> {
    let parsed = Url::parse(url).map_err(|error| match error {
        ParseError::InvalidPort => PORT,
        ParseError::EmptyHost => HOST,
        _ => FORM,
    })?;
    if !SCHEMES.contains(&parsed.scheme()) {
        return Err(SCHEME.into());
    }
    let is_socket = parsed.scheme().ends_with("unix");
    if matches!(parsed.scheme(), "rediss" | "valkeys") {
        require_tls()?;
    }
    if !is_socket {
        check_server(&parsed)?;
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
        if name == "db" && value.parse::<i64>().is_err() {
            return Err("the Redis URL's parameter db must be a number".into());
        }
        given.push(name.into_owned());
    }
    if parsed.fragment().is_some() {
        return Err("the Redis URL has a part after #, which is not used; in a password, write %23 for #".into());
    }
    parsed.into_connection_info().map_err(|_| FORM.to_owned())
}

/// Checks what stands between the scheme and the parameters, if the URL names a host.
fn check_server(url: &Url) -> Result<(), &'static str> {
    if url.port() == Some(0) {
        return Err(PORT);
    }
    match url.host_str() {
        None | Some("") => return Err(HOST),
        Some("0.0.0.0" | "[::]") => {
            return Err(
                "the Redis URL names 0.0.0.0 or [::], which stands for all addresses that a server listens on; write 127.0.0.1 or [::1] for this machine",
            );
        }
        Some(_) => {}
    }
    let database = url.path().trim_matches('/');
    if !database.is_empty() && database.parse::<i64>().is_err() {
        return Err(DATABASE);
    }
    Ok(())
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
            ("redis+unix:///s?db=canary", "parameter db must be a number"),
            ("redis://h?protocol=canary", "protocol must be 2 or 3"),
            ("redis://h?=5", "parameter (not shown)"),
            ("redis://u:6?canary@h", "parameter (not shown)"),
            ("redis://h#canary", "a part after #"),
            ("redis+unix:///s?pass=a#canary", "a part after #"),
            (
                "redis://u:a#canary@h",
                "port in the Redis URL must be a number from 1 to 65535; in a password, write %23 for #",
            ),
            ("redis://h/canary", "behind its host, must be a number"),
            ("redis://h/1/2", "behind its host, must be a number"),
            ("redis://h:99999", "port in the Redis URL must be"),
            ("redis://h:0", "port in the Redis URL must be"),
            ("redis://:canary@", "names no host"),
            ("redis:///5", "names no host"),
            ("redis://0.0.0.0", "write 127.0.0.1"),
            ("http://canary", "must begin with redis://"),
            ("localhost:6379", "must begin with redis://"),
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
