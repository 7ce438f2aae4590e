//! The reference under `docs/reference/` is what the code says. Write it anew with `CTR_LIKE_BLESS=1 cargo test -p api`.

use std::path::Path;

#[test]
fn reference_is_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let bless = std::env::var_os("CTR_LIKE_BLESS").is_some();
    for (name, content) in api::schema::reference() {
        let path = folder.join(&name);
        if bless {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &content).unwrap();
        }
        let found = std::fs::read_to_string(&path)
            .unwrap_or_default()
            .replace("\r\n", "\n");
        assert!(
            found == content,
            "docs/reference/{name} is stale: run CTR_LIKE_BLESS=1 cargo test -p api"
        );
    }
}
