//! Where the programs under test are.

use std::path::{Path, PathBuf};

/// The repository.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("the tests live in the repository")
        .to_path_buf()
}

/// A program built from this repository: beside the test's own build, or in `CTR_LIKE_BIN`.
///
/// # Panics
/// It was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("CTR_LIKE_BIN").map_or_else(built_beside, PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not built: run ./scripts/build-test-programs",
        path.display()
    );
    path
}

/// `target/<profile>`, from `target/<profile>/deps/<test>`.
fn built_beside() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own path");
    own.parent()
        .and_then(Path::parent)
        .expect("tests are built in target/<profile>/deps")
        .to_path_buf()
}

/// The static guest agent.
///
/// # Panics
/// It was not built.
#[must_use]
pub fn guest_agent() -> PathBuf {
    let default = repository().join("target/guest-agent/ctr-like-guest");
    let path = std::env::var_os("CTR_LIKE_GUEST_AGENT").map_or(default, PathBuf::from);
    assert!(
        path.exists(),
        "{} is not built: run ./scripts/build-guest",
        path.display()
    );
    path
}

/// Where daemons of the tests keep what Wine needs.
#[must_use]
pub fn wine_prefix() -> PathBuf {
    std::env::var_os("CTR_LIKE_WINE_PREFIX")
        .map_or_else(|| repository().join("target/wine-prefix"), PathBuf::from)
}

/// The directory of the utility VM's boot files, built or not.
#[must_use]
pub fn boot_files() -> PathBuf {
    std::env::var_os("CTR_LIKE_UVM_DIR").map_or_else(|| repository().join("target/uvm"), PathBuf::from)
}

/// An initrd with Microsoft's agent, unchanged: `newer.img` or `older.img` in the directory `CTR_LIKE_STOCK_DIR`. We have no
/// such files; whoever runs these tests brings them.
///
/// # Panics
/// There is none.
#[must_use]
pub fn stock_initrd(name: &str) -> PathBuf {
    let folder = std::env::var_os("CTR_LIKE_STOCK_DIR").map(PathBuf::from);
    let path = folder.map(|folder| folder.join(name)).unwrap_or_default();
    assert!(
        path.is_file(),
        "set CTR_LIKE_STOCK_DIR to a directory with {name}, an initrd with Microsoft's agent"
    );
    path
}
