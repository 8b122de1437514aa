//! The sums of a node on the way to another machine.
//!
//! In: the cells of each byte of a row; out: bytes, and the cells again. The cells of a byte end with the last that is not
//! zero and have one width, the least that holds them all, so that both ways are loops without branches. Knows nothing
//! of rows and bins.

use super::histogram::{CELLS, Sums};

/// Before the cells of a byte: how many there are, and how many bytes a sum has.
const HEADER_BYTES: usize = 3;

/// The form of the cells of `n_bytes` bytes of a row; `add` adds those of one of them to zeros.
pub(super) fn encoded(n_bytes: usize, add: impl Fn(usize, &mut [Sums])) -> Vec<u8> {
    let mut form = (n_bytes as u32).to_le_bytes().to_vec();
    for byte in 0..n_bytes {
        let mut cells: [Sums; CELLS] = [[0; 2]; CELLS];
        add(byte, &mut cells);
        push(&mut form, &cells);
    }
    form
}

fn push(form: &mut Vec<u8>, cells: &[Sums; CELLS]) {
    let last = cells.iter().rposition(|cell| *cell != [0; 2]);
    let cells = &cells[..last.map_or(0, |last| last + 1)];
    let width = width(cells.as_flattened());
    form.extend_from_slice(&(cells.len() as u16).to_le_bytes());
    form.push(width);
    match width {
        2 => push_sums::<2>(form, cells, |sum| (sum as i16).to_le_bytes()),
        4 => push_sums::<4>(form, cells, |sum| (sum as i32).to_le_bytes()),
        _ => push_sums::<8>(form, cells, i64::to_le_bytes),
    }
}

fn push_sums<const WIDTH: usize>(
    form: &mut Vec<u8>,
    cells: &[Sums],
    to_bytes: impl Fn(i64) -> [u8; WIDTH],
) {
    let start = form.len();
    form.resize(start + cells.len() * 2 * WIDTH, 0);
    let (places, _) = form[start..].as_chunks_mut::<WIDTH>();
    for (place, &sum) in places.iter_mut().zip(cells.as_flattened()) {
        *place = to_bytes(sum);
    }
}

/// The least number of bytes that holds each of some sums.
fn width(sums: &[i64]) -> u8 {
    // A negative number takes as many bits as its complement.
    let bits = sums
        .iter()
        .fold(0_i64, |bits, &sum| bits | (sum ^ (sum >> 63)));
    // And one for the sign.
    match 65 - bits.leading_zeros() {
        0..=16 => 2,
        17..=32 => 4,
        _ => 8,
    }
}

/// The cells of all bytes side by side; `None` if this is no such form.
pub(super) fn decoded(form: &[u8]) -> Option<Vec<Sums>> {
    let (n_bytes, mut rest) = form.split_first_chunk::<4>()?;
    let n_bytes = u32::from_le_bytes(*n_bytes) as usize;
    if n_bytes > rest.len() / HEADER_BYTES {
        return None;
    }
    let mut cells: Vec<Sums> = vec![[0; 2]; n_bytes * CELLS];
    for of_byte in cells.chunks_exact_mut(CELLS) {
        let (header, after) = rest.split_first_chunk::<HEADER_BYTES>()?;
        let [low, high, width] = *header;
        let of_byte = of_byte.get_mut(..usize::from(u16::from_le_bytes([low, high])))?;
        rest = match width {
            2 => take_sums::<2>(after, of_byte, |sum| i16::from_le_bytes(sum).into()),
            4 => take_sums::<4>(after, of_byte, |sum| i32::from_le_bytes(sum).into()),
            8 => take_sums::<8>(after, of_byte, i64::from_le_bytes),
            _ => None,
        }?;
    }
    rest.is_empty().then_some(cells)
}

/// Fills cells from the beginning of a form; the rest of it.
fn take_sums<'a, const WIDTH: usize>(
    form: &'a [u8],
    cells: &mut [Sums],
    of_bytes: impl Fn([u8; WIDTH]) -> i64,
) -> Option<&'a [u8]> {
    let (bytes, rest) = form.split_at_checked(cells.len() * 2 * WIDTH)?;
    let (places, _) = bytes.as_chunks::<WIDTH>();
    for (sum, place) in cells.as_flattened_mut().iter_mut().zip(places) {
        *sum = of_bytes(*place);
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form of one byte for each list of cells, and how long it is without headers.
    fn form_of(of_bytes: &[&[Sums]]) -> (Vec<u8>, usize) {
        let form = encoded(of_bytes.len(), |byte, cells| {
            cells[..of_bytes[byte].len()].copy_from_slice(of_bytes[byte]);
        });
        let n_bytes = form.len() - 4 - of_bytes.len() * HEADER_BYTES;
        (form, n_bytes)
    }

    #[test]
    fn cells_come_back_in_as_few_bytes_as_they_need() {
        let (short, int, long) = (i64::from(i16::MAX), i64::from(i32::MAX), i64::MAX);
        let cases: [(&[Sums], usize); 9] = [
            (&[], 0),
            (&[[0, 0], [0, 0]], 0),
            (&[[0, 0], [-1, 0], [0, 0]], 2 * 2 * 2),
            (&[[short, -short - 1]], 2 * 2),
            (&[[short + 1, 0]], 2 * 4),
            (&[[0, -short - 2]], 2 * 4),
            (&[[int, -int - 1], [1, 2]], 2 * 2 * 4),
            (&[[int + 1, 0]], 2 * 8),
            (&[[long, -long - 1]; CELLS], CELLS * 2 * 8),
        ];
        for (cells, expected) in cases {
            let (form, n_bytes) = form_of(&[cells]);
            assert_eq!(n_bytes, expected, "{cells:?}");
            let found = decoded(&form).unwrap();
            assert_eq!(found.len(), CELLS);
            assert_eq!(found[..cells.len()], *cells);
            assert!(found[cells.len()..].iter().all(|cell| *cell == [0; 2]));
        }
        // Each byte has a width of its own.
        let (form, n_bytes) = form_of(&[cases[7].0, cases[0].0, cases[3].0]);
        assert_eq!(n_bytes, 2 * 8 + 2 * 2);
        let found = decoded(&form).unwrap();
        assert_eq!(found.len(), 3 * CELLS);
        assert_eq!([found[0], found[CELLS]], [[int + 1, 0], [0, 0]]);
        assert_eq!(found[2 * CELLS], [short, -short - 1]);
        assert_eq!(decoded(&form_of(&[]).0), Some(Vec::new()));
    }

    #[test]
    fn damaged_forms_are_known() {
        let (form, _) = form_of(&[&[[1, 2], [3, 4]], &[[5, 6]]]);
        assert!(decoded(&form).is_some());
        for end in 0..form.len() {
            assert_eq!(decoded(&form[..end]), None, "{end}");
        }
        let longer = [form.as_slice(), &[0]].concat();
        assert_eq!(decoded(&longer), None);
        let changed = |at: usize, byte: u8| {
            let mut form = form.clone();
            form[at] = byte;
            decoded(&form)
        };
        // More bytes than there are, more cells than a byte has, and no such width.
        assert_eq!(changed(3, 0xff), None);
        assert_eq!(changed(5, 0x02), None);
        assert_eq!(changed(6, 3), None);
    }
}
