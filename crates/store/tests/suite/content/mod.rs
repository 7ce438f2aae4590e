//! Blobs and their way into the store.

mod blobs;
mod ingests;

use std::fs;
use std::path::Path;

use bytes::Bytes;
use store::{Digest, Labels, Store, StoreError};

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i * 31 + i / 251).to_le_bytes()[0] ^ seed)
        .collect()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

async fn put(store: &Store, lease: &store::Lease, bytes: &[u8]) -> store::BlobInfo {
    let digest = Digest::of(bytes);
    let mut ingest = store
        .ingest(
            lease.id(),
            digest.as_str(),
            Some(digest.clone()),
            Some(bytes.len() as u64),
        )
        .await
        .unwrap();
    let rest = usize::try_from(ingest.offset()).unwrap();
    ingest
        .write(Bytes::copy_from_slice(&bytes[rest..]))
        .await
        .unwrap();
    ingest.commit(Labels::new()).await.unwrap()
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
