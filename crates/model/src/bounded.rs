//! A list with a fixed capacity inside the value itself. States of a model are copied and hashed
//! millions of times, so they must not own memory elsewhere.

use std::{
    fmt,
    hash::{Hash, Hasher},
    ops::{Deref, DerefMut},
};

/// A list of at most `N` items.
#[derive(Clone, Copy)]
pub(crate) struct Bounded<T, const N: usize> {
    length: u8,
    items: [T; N],
}

impl<T: Copy + Default, const N: usize> Bounded<T, N> {
    /// Creates an empty list.
    pub(crate) fn new() -> Self {
        Self { length: 0, items: [T::default(); N] }
    }

    /// Whether no item can be added.
    pub(crate) fn is_full(&self) -> bool {
        usize::from(self.length) == N
    }

    /// Adds an item at the end. The list must not be full: a scope that needs more items is too
    /// large for the model.
    pub(crate) fn push(&mut self, item: T) {
        assert!(!self.is_full(), "the scope needs a list with more than {N} items");
        self.items[usize::from(self.length)] = item;
        self.length += 1;
    }

    /// Removes the item at `index` and closes the gap.
    pub(crate) fn remove(&mut self, index: usize) -> T {
        let item = self[index];
        let end = usize::from(self.length);
        self.items.copy_within(index + 1..end, index);
        self.length -= 1;
        item
    }

    /// Removes the items for which `keeps` returns false.
    pub(crate) fn retain(&mut self, keeps: impl Fn(&T) -> bool) {
        let mut kept = Self::new();
        for item in self.iter().filter(|item| keeps(item)) {
            kept.push(*item);
        }
        *self = kept;
    }

    /// Removes all items.
    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }
}

impl<T, const N: usize> Deref for Bounded<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items[..usize::from(self.length)]
    }
}

impl<T, const N: usize> DerefMut for Bounded<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items[..usize::from(self.length)]
    }
}

impl<T: PartialEq, const N: usize> PartialEq for Bounded<T, N> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq, const N: usize> Eq for Bounded<T, N> {}

impl<T: Ord, const N: usize> PartialOrd for Bounded<T, N> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord, const N: usize> Ord for Bounded<T, N> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl<T: Hash, const N: usize> Hash for Bounded<T, N> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (**self).hash(hasher);
    }
}

impl<T: fmt::Debug, const N: usize> fmt::Debug for Bounded<T, N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_list_behaves_like_a_vector() {
        let mut list: Bounded<u8, 4> = Bounded::new();
        for item in [3, 1, 2, 5] {
            list.push(item);
        }
        assert!(list.is_full());
        assert_eq!(list.remove(1), 1);
        list.sort_unstable();
        assert_eq!(&*list, [2, 3, 5]);
        list.retain(|item| *item != 3);
        assert_eq!(&*list, [2, 5]);
        list.clear();
        assert!(list.is_empty());
    }
}
