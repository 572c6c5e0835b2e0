//! One Lua script: its text, its hash, and the commands it needs.

use std::sync::OnceLock;

use super::rights;

/// A script: the texts of the library files it needs (`lua/lib/`), then that of its own Lua file.
pub(super) struct LuaScript {
    source: &'static str,
    derived: OnceLock<Derived>,
}

/// What follows from the source.
struct Derived {
    hash: String,
    needs: Vec<&'static str>,
}

impl LuaScript {
    pub(super) const fn new(source: &'static str) -> LuaScript {
        LuaScript { source, derived: OnceLock::new() }
    }

    pub(super) fn source(&self) -> &'static str {
        self.source
    }

    /// The name under which a server knows the script that it has run before.
    pub(super) fn hash(&self) -> &str {
        &self.derived().hash
    }

    /// The commands without which the script must not run.
    pub(super) fn needs(&self) -> &[&'static str] {
        &self.derived().needs
    }

    fn derived(&self) -> &Derived {
        self.derived.get_or_init(|| Derived {
            hash: redis::Script::new(self.source).get_hash().to_owned(),
            needs: rights::needs(self.source),
        })
    }
}
