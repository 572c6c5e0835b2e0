//! Which commands the scripts may call. A script that meets a command it may not call would leave its work half done, because Redis does not roll back. So each
//! new connection asks first (`lua/rights.lua`), and a script that needs a missing command is not sent at all.

use redis::{RedisError, Value, aio::MultiplexedConnection};

use super::keys::Keyspace;
use super::reply::Reply;
use crate::store::StoreError;

const OPERATION: &str = "rights";
const SOURCE: &str = include_str!("lua/rights.lua");

/// What one connection may do, as far as scripts are concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rights {
    /// Commands that the user may not call.
    forbidden: Vec<String>,
    /// Commands that the server does not know, because they were renamed or disabled.
    unknown: Vec<String>,
    /// Whether the user may publish hints.
    pub(super) publishes: bool,
    /// `false`: some commands could not be tried, because the server refuses writes now, so the rights must be read again before the next call. `true` also if LPUSH,
    /// RPUSH, SADD and SREM were not tried because HSET or HDEL cannot be called: `lua/rights.lua` tries them on a hash that it makes for that moment, and without these two
    /// no script that writes can run anyway.
    pub(super) conclusive: bool,
}

impl Rights {
    /// Asks the server. The outer error: the connection broke, or the server answered with an error. The inner error: the answer cannot be read.
    pub(super) async fn read(
        connection: &mut MultiplexedConnection,
        keyspace: &Keyspace,
    ) -> Result<Result<Rights, StoreError>, RedisError> {
        let mut command = redis::cmd("EVAL");
        command.arg(SOURCE).arg(1).arg(&keyspace.rights).arg(&keyspace.rights_channel);
        let answer = connection.send_packed_command(&command).await?.extract_error()?;
        Ok(Self::of(answer))
    }

    fn of(answer: Value) -> Result<Rights, StoreError> {
        let mut reply = Reply::new(OPERATION, answer)?;
        reply.status()?;
        Ok(Rights {
            forbidden: texts(reply.list()?)?,
            unknown: texts(reply.list()?)?,
            publishes: reply.number()? == 1,
            conclusive: reply.number()? == 1,
        })
    }

    /// Why a script that calls these commands must not be sent; `None` if it may.
    pub(super) fn refusal(&self, needs: &[&str]) -> Option<String> {
        if self.forbidden.is_empty() && self.unknown.is_empty() {
            return None;
        }
        let missing = |commands: &[String]| {
            let missing: Vec<&str> =
                needs.iter().copied().filter(|need| commands.iter().any(|command| command == need)).collect();
            (!missing.is_empty()).then_some(missing)
        };
        let forbidden = missing(&self.forbidden).map(|commands| {
            let rights: Vec<String> = commands.iter().map(|command| format!("+{}", command.to_lowercase())).collect();
            format!("this user may not call {}; give it the rights {}", commands.join(", "), rights.join(" "))
        });
        let unknown = missing(&self.unknown).map(|commands| {
            let names = commands.join(", ");
            format!("the server does not know {names}: renamed or disabled commands must be enabled again")
        });
        let reasons: Vec<String> = forbidden.into_iter().chain(unknown).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}

fn texts(mut list: Reply) -> Result<Vec<String>, StoreError> {
    let mut texts = Vec::with_capacity(list.len());
    while !list.is_empty() {
        texts.push(list.text()?);
    }
    Ok(texts)
}

/// The commands that `lua/rights.lua` tries.
fn tried() -> impl Iterator<Item = &'static str> {
    SOURCE.split("try('").skip(1).filter_map(|rest| rest.split('\'').next())
}

/// The commands without which this script must not run: each that is quoted anywhere but right after `pcall(`, because what follows `pcall` may fail. HINCRBY counts
/// even there: `draw` and `count` (`lib/write.lua`) cannot do without it, and use `pcall` only to survive a counter that somebody overwrote by hand.
pub(super) fn needs(source: &str) -> Vec<&'static str> {
    let needed = |command: &&str| {
        let quoted = format!("'{command}'");
        let mut uses = source.match_indices(&quoted);
        uses.any(|(at, _)| *command == "HINCRBY" || !source[..at].ends_with("pcall("))
    };
    tried().filter(needed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_needs_what_it_calls_and_not_what_it_can_do_without() {
        let source = "call('HSET', k, 'HLEN_', 1) redis.pcall('ZADD', k) call_in_chunks(hash and 'HSCAN' or 'ZSCAN') redis.pcall('HINCRBY', k)";
        let mut needed = needs(source);
        needed.sort_unstable();
        assert_eq!(needed, ["HINCRBY", "HSCAN", "HSET", "ZSCAN"]);
    }

    #[test]
    fn a_refusal_names_each_missing_command_and_its_remedy() {
        let rights = Rights { forbidden: vec!["HSET".into()], unknown: vec!["LPOP".into()], ..Rights::default() };
        assert_eq!(rights.refusal(&["HGET"]), None);
        let told = "this user may not call HSET; give it the rights +hset; the server does not know LPOP: renamed or disabled commands must be enabled again";
        assert_eq!(rights.refusal(&["HGET", "HSET", "LPOP"]).as_deref(), Some(told));
    }

    /// Every command that a script calls is tried. A new one must be added to `lua/rights.lua`.
    #[test]
    fn every_command_of_every_script_is_tried() {
        for (file, source) in scripts() {
            for quoted in source.split('\'').skip(1).step_by(2).filter(|text| text.len() > 2) {
                let is_word = quoted.bytes().all(|byte| byte.is_ascii_uppercase());
                let known = WORDS.contains(&quoted) || tried().any(|tried| tried == quoted);
                assert!(!is_word || known, "{file} calls {quoted}, which lua/rights.lua does not try");
            }
        }
    }

    /// Words in capital letters that are no commands, and the one command that every script can do without.
    const WORDS: [&str; 9] =
        ["WITHSCORES", "WITHVALUES", "COUNT", "LIMIT", "MAXLEN", "MINID", "WRONGTYPE", "PUBLISH", "READONLY"];

    fn scripts() -> Vec<(String, String)> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("store/redis/lua");
        let files =
            ["", "lib"].into_iter().flat_map(|inner| std::fs::read_dir(folder.join(inner)).into_iter().flatten());
        let lua = files.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.extension().is_some());
        lua.filter_map(|path| Some((path.display().to_string(), std::fs::read_to_string(path).ok()?))).collect()
    }
}
