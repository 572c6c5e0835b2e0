//! The part of the Redis protocol that the proxy needs: where a frame ends, and which arguments a command has.

/// The length of the first frame, in bytes; `None` while the frame is incomplete.
pub(crate) fn frame_len(bytes: &[u8]) -> Option<usize> {
    let line = line_len(bytes)?;
    let number = || std::str::from_utf8(&bytes[1..line - 2]).ok()?.parse::<i64>().ok();
    match bytes[0] {
        b'$' => match usize::try_from(number().expect("a bulk string's length")) {
            Ok(len) => Some(line + len + 2).filter(|end| *end <= bytes.len()),
            Err(_) => Some(line),
        },
        b'*' => {
            let mut end = line;
            for _ in 0..number().expect("an array's length").max(0) {
                end += frame_len(&bytes[end..])?;
            }
            Some(end)
        }
        _ => Some(line),
    }
}

fn line_len(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|two| two == b"\r\n").map(|at| at + 2)
}

/// The arguments of a complete frame that is an array of bulk strings.
pub(crate) fn arguments(frame: &[u8]) -> Vec<&[u8]> {
    let mut rest = &frame[line_len(frame).expect("a complete frame")..];
    let mut words = Vec::new();
    while !rest.is_empty() {
        let len = frame_len(rest).expect("a complete frame");
        let body = line_len(rest).expect("a complete frame");
        words.push(if rest[0] == b'$' { &rest[body..(len - 2).max(body)] } else { &rest[1..body - 2] });
        rest = &rest[len..];
    }
    words
}

#[test]
fn only_a_complete_frame_has_a_length() {
    let frame = b"*3\r\n$3\r\nGET\r\n:12\r\n*1\r\n$-1\r\n";
    for end in 0..frame.len() {
        assert_eq!(frame_len(&frame[..end]), None, "{end}");
    }
    assert_eq!(frame_len(&[&frame[..], b"+OK"].concat()), Some(frame.len()));
    assert_eq!(arguments(b"*3\r\n$4\r\nEVAL\r\n$2\r\n\r\n\r\n$0\r\n\r\n"), [&b"EVAL"[..], b"\r\n", b""]);
}
