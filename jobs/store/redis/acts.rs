//! Reads what operators did to a job (`lua/lib/acts.lua`).

use super::reply::{big_endian, state_of};
use crate::trace::{Act, ActKind, OperatorName};

/// Bytes of an act before the name of the operator.
const HEAD: usize = 13;

/// How many acts are missing, and the others, oldest first. An act that cannot be read is missing.
pub(super) fn acts_of(value: &[u8]) -> (u32, Vec<Act>) {
    let Some((dropped, mut rest)) = value.split_at_checked(4) else { return (0, Vec::new()) };
    let (mut missing, mut acts) = (big_endian(dropped) as u32, Vec::new());
    while !rest.is_empty() {
        let Some((act, after)) = first_of(rest) else {
            missing = missing.saturating_add(1);
            break;
        };
        match act {
            Some(act) => acts.push(act),
            None => missing = missing.saturating_add(1),
        }
        rest = after;
    }
    (missing, acts)
}

/// The first act (`None` if its kind or state is unknown) and what follows it. `None` for both if the act is cut off.
fn first_of(bytes: &[u8]) -> Option<(Option<Act>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let (name, rest) = rest.split_at_checked(usize::from(head[HEAD - 1]))?;
    let kind = match head[6] {
        b'r' => Some(ActKind::Redrive),
        b'c' => Some(ActKind::Cancel),
        _ => None,
    };
    let act = kind.zip(state_of(head[7])).map(|(kind, from)| {
        let by = OperatorName::new(String::from_utf8_lossy(name));
        Act::new(kind, big_endian(&head[..6]), from, big_endian(&head[8..12]) as u32, by)
    });
    Some((act, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobState;

    /// One act as `lua/lib/acts.lua` writes it.
    fn bytes(kind: u8, name: &[u8]) -> Vec<u8> {
        [&[0, 0, 0, 0, 0, 9, kind, b'd', 0, 0, 0, 3, name.len() as u8][..], name].concat()
    }

    #[test]
    fn acts_that_cannot_be_read_are_counted_and_hide_no_other() {
        let act = Act::new(ActKind::Redrive, 9, JobState::Dead, 3, "ada".into());
        let newer = [&[0, 0, 0, 2][..], &bytes(b'?', b"ada"), &bytes(b'r', b"ada")].concat();
        assert_eq!(acts_of(&newer), (3, vec![act.clone()]), "one of a newer version");
        let whole = [&[0, 0, 0, 2][..], &bytes(b'r', b"ada"), &bytes(b'c', b"bob")].concat();
        for end in 4 + 16 + 1..whole.len() {
            assert_eq!(acts_of(&whole[..end]), (3, vec![act.clone()]), "cut after {end} bytes");
        }
        assert_eq!(acts_of(b""), (0, Vec::new()));
        assert_eq!(acts_of(b"\x00\x00"), (0, Vec::new()));
    }
}
