//! Which byte ends the lines of a COPY: the first end tells, as in PostgreSQL.
//!
//! In: a byte that may be one; out: whether it ends a line. Old files of Macs have a carriage return alone; one before a line
//! feed belongs to the break.

/// The byte that ends lines, once one has ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LineBreak(Option<u8>);

impl LineBreak {
    /// Whether a byte may end a line.
    pub(super) fn may_be(byte: u8) -> bool {
        byte == b'\n' || byte == b'\r'
    }

    /// Whether the line feed or carriage return at `at` ends a line; `None`: what follows must come first.
    pub(super) fn ends(&mut self, input: &[u8], at: usize, at_end: bool) -> Option<bool> {
        if self.0.is_none() {
            let next = input.get(at + 1);
            if input[at] == b'\r' && next.is_none() && !at_end {
                return None;
            }
            let is_alone = input[at] == b'\r' && next != Some(&b'\n');
            self.0 = Some(if is_alone { b'\r' } else { b'\n' });
        }
        Some(self.0 == Some(input[at]))
    }
}
