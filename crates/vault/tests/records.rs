//! Records go in and come out, through the public face.

mod common;

use common::*;
use domain::Kind;

#[tokio::test]
async fn what_was_put_opens() {
    let folder = tempfile::tempdir().unwrap();
    let vault = open_vault(folder.path()).await;
    let entry = vault.put(record(1), &mut rng(2)).await.unwrap();
    let opened = vault.open(permit(id(1), Kind::Laboratory), None).await.unwrap();
    assert_eq!(opened.entry, entry);
    assert_eq!(opened.body(), record(1).body);
}
