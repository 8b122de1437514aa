//! Page-locked memory of the host: what is allocated. Who may touch it when is told by [`super::order`].

use std::collections::BTreeMap;
use std::ops::Range;

/// Fills memory that was never written.
const POISON: u64 = u64::MAX;

/// See the module; that of a context.
#[derive(Debug, Default)]
pub(super) struct HostMemory {
    /// By address: how many bytes, and the words that hold them.
    blocks: BTreeMap<usize, (usize, Vec<u64>)>,
}

impl HostMemory {
    /// So many bytes, if there are not more than `limit_bytes` with those that are there.
    pub(super) fn allocate(&mut self, n_bytes: usize, limit_bytes: usize) -> Option<*mut u8> {
        let used_bytes: usize = self.leaks().map(|(_, n_bytes)| n_bytes).sum();
        if n_bytes == 0 || n_bytes > limit_bytes.saturating_sub(used_bytes) {
            return None;
        }
        let mut words = vec![POISON; n_bytes.div_ceil(size_of::<u64>())];
        let start = words.as_mut_ptr().cast::<u8>();
        self.blocks.insert(start.addr(), (n_bytes, words));
        Some(start)
    }

    /// The bytes of what begins there.
    pub(super) fn block(&self, address: usize) -> Option<Range<u64>> {
        let (n_bytes, _) = self.blocks.get(&address)?;
        Some(address as u64..(address + n_bytes) as u64)
    }

    /// Frees what begins there.
    pub(super) fn free(&mut self, address: usize) {
        self.blocks.remove(&address);
    }

    /// Whether the bytes are page-locked.
    pub(super) fn holds(&self, bytes: &Range<u64>) -> bool {
        let block = self.blocks.range(..=bytes.start as usize).next_back();
        block.is_some_and(|(start, (n_bytes, _))| bytes.end <= (start + n_bytes) as u64)
    }

    /// What was not freed: address and bytes.
    pub(super) fn leaks(&self) -> impl Iterator<Item = (usize, usize)> {
        self.blocks
            .iter()
            .map(|(&address, &(n_bytes, _))| (address, n_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::HostMemory;

    #[test]
    fn memory_has_a_limit_and_tells_what_it_holds_and_what_leaks() {
        let mut memory = HostMemory::default();
        let start = memory.allocate(100, 1000).expect("room").addr();
        assert!(memory.allocate(901, 1000).is_none());
        assert!(memory.allocate(0, 1000).is_none());
        assert_eq!(memory.leaks().collect::<Vec<_>>(), [(start, 100)]);
        let bytes = start as u64..start as u64 + 100;
        assert!(memory.holds(&bytes) && !memory.holds(&(bytes.start..bytes.end + 1)));
        assert!(!memory.holds(&(8..16)));
        assert_eq!(memory.block(start + 64), None);
        assert_eq!(memory.block(start), Some(bytes));
        memory.free(start);
        assert_eq!(memory.block(start), None);
        assert_eq!(memory.leaks().count(), 0);
    }
}
