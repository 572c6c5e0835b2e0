//! What an error of the server means, by its own words.

use redis::{ErrorKind, RedisError};

use crate::store::Block;

pub(super) const CHECK_LOGIN: &str = "check user and password of the Redis URL";
pub(super) const CLUSTER: &str =
    "it is a node of a Redis Cluster, which is not supported yet; use a server outside a cluster";

/// What to do if this error of a server says that a right is missing, with the word PREFIX in place of the prefix of the keys. `None` for any other error.
pub(super) fn advice_on_missing_right(said: &str) -> Option<&'static str> {
    const KEYS: &str = "give this user the keys ~PREFIX:*";
    const RIGHT: &str = "give this user the missing right";
    const ENABLE: &str = "renamed or disabled commands must be enabled again";
    const PHRASES: [(&str, &str); 9] = [
        ("keys used as arguments", KEYS),
        ("o permissions to access a key", KEYS),
        ("can't access at least one of the keys", KEYS),
        ("NOPERM ", RIGHT),
        ("has no permissions", RIGHT),
        ("can't run this command", RIGHT),
        ("unknown command", ENABLE),
        ("Unknown command", ENABLE),
        ("Unknown Redis command", ENABLE),
    ];
    PHRASES.into_iter().find(|(phrase, _)| said.contains(phrase)).map(|(_, advice)| advice)
}

/// What to do about an error with which a server refuses a call until somebody acts. `None` for any other error.
pub(super) fn refusal(said: &str) -> Option<&'static str> {
    const DATABASE: &str = "check the database number of the Redis URL";
    const REFUSALS: [(&str, &str); 5] = [
        ("MOVED ", CLUSTER),
        ("ASK ", CLUSTER),
        ("not allowed in cluster mode", CLUSTER),
        ("DB index is out of range", DATABASE),
        ("invalid DB index", DATABASE),
    ];
    REFUSALS.into_iter().find(|(phrase, _)| said.contains(phrase)).map(|(_, advice)| advice)
}

/// Whether this error of a server says that it does not accept user or password. "unauthenticated" is a part of its answers to calls that are too large for somebody who has not
/// logged in. The redis crate leaves out the code of an error that selects a database: of NOAUTH it leaves "Authentication required".
pub(super) fn refuses_login(said: &str) -> bool {
    const PHRASES: [&str; 6] = [
        "NOAUTH ",
        "WRONGPASS ",
        "Authentication required",
        "invalid password",
        "without any password",
        "unauthenticated",
    ];
    PHRASES.into_iter().any(|phrase| said.contains(phrase))
}

/// What may be the matter if no answer of a server came, to be appended to the error; empty if the error says enough.
pub(super) fn advice_on_no_answer(error: &RedisError) -> &'static str {
    // ENOENT. The redis crate shows the error of the system only as text.
    const NO_SUCH_FILE: &str = "(os error 2)";
    match error.is_connection_refusal() {
        true if error.to_string().contains(NO_SUCH_FILE) => {
            "; there is no such socket: start the server, or check the path"
        }
        true => "; no server listens there: start it, or check the address",
        false => "",
    }
}

/// The error of a server in its own words, or the text of another error.
pub(super) fn said(error: &RedisError) -> String {
    match (error.kind(), error.code()) {
        (ErrorKind::Server(_) | ErrorKind::Extension, Some(code)) => {
            let text = format!("{code} {}", error.detail().unwrap_or_default());
            // A server that does not know a command repeats its arguments, cut short. In them a password could no longer be recognized and hidden, so they are left out.
            let text = text.split(", with args beginning with").next().unwrap_or_default();
            text.trim_end_matches([' ', '.']).to_owned()
        }
        _ => error.to_string(),
    }
}

/// Why the server does not do what it was asked for, by the code of its error. When a script fails, servers before 7.0 put the code into the middle of the text. The redis
/// crate leaves out the code of an error that selects a database: of BUSY it leaves "busy running a script" or "… a module command".
pub(super) fn block(said: &str) -> Option<Block> {
    const PHRASES: [(&str, Block); 9] = [
        ("OOM ", Block::Memory),
        ("MISCONF ", Block::Disk),
        ("NOREPLICAS ", Block::MissingReplicas),
        ("READONLY ", Block::Replica),
        ("MASTERDOWN ", Block::Replica),
        ("LOADING ", Block::Loading),
        ("BUSY ", Block::Script),
        ("busy running a ", Block::Script),
        ("UNKILLABLE ", Block::Script),
    ];
    PHRASES.into_iter().find(|(phrase, _)| said.contains(phrase)).map(|(_, block)| block)
}
