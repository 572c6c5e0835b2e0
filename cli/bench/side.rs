//! The two sides that are compared.

use serde::{Deserialize, Serialize};

/// What is measured: ReTraced, or the floor (the bare loop). `--json` has it as `peer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Side {
    Retraced,
    Floor,
}

impl Side {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Side::Retraced => "retraced",
            Side::Floor => "floor",
        }
    }
}
