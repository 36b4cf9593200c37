//! Each key has one first inserter, and an entry is kept for one to two generations.

use super::*;

fn cache(size: usize) -> Cache<u32> {
    Cache::new(NonZeroUsize::new(size).unwrap())
}

#[test]
fn the_first_value_is_kept() {
    let cache = cache(8);
    assert_eq!(cache.insert_if_absent(1, 10), Inserted::New);
    assert_eq!(cache.insert_if_absent(1, 11), Inserted::Present(10));
    assert_eq!((cache.get(1), cache.get(2)), (Some(10), None));
}

#[test]
fn an_entry_is_kept_for_one_to_two_generations() {
    let cache = cache(100);
    for key in 0..1_000_u32 {
        assert_eq!(cache.insert_if_absent(key.into(), key), Inserted::New);
        for newer in 0..=key.min(99) {
            assert_eq!(cache.get((key - newer).into()), Some(key - newer), "at {key}");
        }
        assert!(key < 200 || cache.get((key - 200).into()).is_none(), "at {key}");
        assert!(cache.len() <= cache.capacity());
    }
}

#[test]
fn a_removed_key_can_be_inserted_again_in_either_generation() {
    let cache = cache(8);
    for rotations in 0..2 {
        let key = 7 + rotations;
        assert_eq!(cache.insert_if_absent(key, 1), Inserted::New);
        for _ in 0..rotations {
            cache.rotate();
        }
        cache.remove_if(key, |value| *value == 2);
        assert_eq!(cache.insert_if_absent(key, 2), Inserted::Present(1), "an entry with another value was removed");
        cache.remove_if(key, |value| *value == 1);
        assert_eq!(cache.insert_if_absent(key, 3), Inserted::New);
    }
}

#[test]
fn every_key_has_a_first_inserter_while_generations_rotate() {
    let cache = Arc::new(cache(64));
    let wins: Vec<AtomicUsize> = (0..20_000).map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (cache, wins) = (&cache, &wins);
            scope.spawn(move || {
                for (key, won) in wins.iter().enumerate() {
                    if cache.insert_if_absent(key as u128, thread) == Inserted::New {
                        won.fetch_add(1, Ordering::Relaxed);
                    }
                    if key % 16 == 0 {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    // A thread that is more than a generation behind may insert a key again that was dropped,
    // so two threads can be first for one key, but at least one must be.
    assert!(wins.iter().all(|won| won.load(Ordering::Relaxed) >= 1));
}
