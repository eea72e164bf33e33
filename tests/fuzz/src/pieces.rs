//! Several byte strings in one: each behind its length as one byte.

/// The pieces of `bytes`; what a length asks for too much is not there.
pub(crate) fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (piece, behind) = rest.split_at(usize::from(*length).min(rest.len()));
        pieces.push(piece);
        bytes = behind;
    }
    pieces
}

/// The reverse, for seeds; longer pieces than 255 bytes are cut.
pub(crate) fn join(pieces: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut joined = Vec::new();
    for piece in pieces {
        let length = u8::try_from(piece.len()).unwrap_or(u8::MAX);
        joined.push(length);
        joined.extend_from_slice(&piece[..usize::from(length)]);
    }
    joined
}
