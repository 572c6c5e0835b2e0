//! The users of `docs/redis.md`, with exactly the rights that the page gives them.

use retraced_jobs::store::Store;
use retraced_jobs::store::redis::{KeyPrefix, RedisOptions, RedisStore};

use super::redis_server::RedisServer;

/// A store with this prefix, of the user with this name on the page.
pub async fn documented(server: &RedisServer, user: &str, prefix: &str) -> RedisStore {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/redis.md")).unwrap();
    let line =
        page.lines().find(|line| line.starts_with(&format!("ACL SETUSER {user} "))).expect("the line of this user");
    let mut command = redis::cmd("ACL");
    for word in line.split_whitespace().skip(1) {
        command.arg(word.replace("PASSWORD", "secret").replace("retraced:*", &format!("{prefix}:*")));
    }
    let _: () = command.query(&mut server.connection()).unwrap();
    let options = RedisOptions::default().prefix(KeyPrefix::new(prefix).unwrap());
    let store = RedisStore::open(&format!("{}?user={user}&pass=secret", server.url()), options).unwrap();
    store.probe().await.unwrap();
    store
}
