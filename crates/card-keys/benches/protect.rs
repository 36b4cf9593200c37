//! What card keys cost one payment: its shape, one MAC under each of two comparison keys and the
//! seal at the ingress; the opening at the worker; one MAC for a cancel.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use twqr_card_keys::{CardKeys, KeyDirectory, KeySource};
use twqr_types::{CardToken, MerchantId, MerchantTradeNo, OrderKey, UnixMs};

const NOW: UnixMs = UnixMs(1_795_941_599_000);

fn payment(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let directory = KeyDirectory::new(folder.path().join("keys"));
    directory.renew(NOW).unwrap();
    directory.rotate(NOW).unwrap();
    let keys = CardKeys::new(directory.read().unwrap().0);
    let key = OrderKey {
        merchant_id: MerchantId::parse("M1".to_owned()).unwrap(),
        merchant_trade_no: MerchantTradeNo::parse("20261129-000001".to_owned()).unwrap(),
    };
    let token = CardToken::parse("22abcdefghijklmnop".to_owned()).unwrap();
    let sealed = keys.protect(&token, &key, NOW).unwrap().sealed.unwrap();
    criterion.bench_function("protect_payment", |bench| {
        bench.iter(|| black_box(keys.protect(black_box(&token), &key, NOW).unwrap()));
    });
    criterion.bench_function("open_at_worker", |bench| {
        bench.iter(|| black_box(keys.open(black_box(&sealed), &key, NOW).unwrap()));
    });
    criterion.bench_function("protect_cancel", |bench| {
        bench.iter(|| black_box(keys.protect_compared(black_box(&token), &key).unwrap()));
    });
}

criterion_group!(benches, payment);
criterion_main!(benches);
