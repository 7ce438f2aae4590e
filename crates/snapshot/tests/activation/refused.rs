//! What no layer can hold.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::setup::*;
use crate::windows_kit::write;

#[tokio::test]
async fn what_no_layer_can_hold_is_refused_by_name() {
    let setup = Setup::new(&[base()]).await;
    let refused = |scratch: &Path| {
        let error = setup.difference(scratch).layer(std::io::sink()).unwrap_err();
        error.to_string()
    };
    type Doing = fn(&Path);
    let cases: [(&str, Doing, &str); 7] = [
        (
            "socket",
            |c| drop(std::os::unix::net::UnixListener::bind(c.join("App/s")).unwrap()),
            "C:\\App\\s is a socket",
        ),
        (
            "outside",
            |c| symlink("/etc/passwd", c.join("App/p")).unwrap(),
            "C:\\App\\p is a link to /etc/passwd",
        ),
        (
            "above",
            |c| symlink("../../x", c.join("App/p")).unwrap(),
            "C:\\App\\p is a link to ../../x",
        ),
        (
            "colon",
            |c| write(c.join("App/a:b"), ""),
            "C:\\App\\a:b has a name",
        ),
        (
            "dot",
            |c| write(c.join("App/dot."), ""),
            "C:\\App\\dot. has a name",
        ),
        (
            "mark",
            |c| write(c.join("App/.wh.x"), ""),
            "C:\\App\\.wh.x has a name",
        ),
        (
            "case",
            |c| {
                write(c.join("App/one"), "");
                write(c.join("App/ONE"), "");
            },
            "differs from ONE only in case",
        ),
    ];
    for (id, doing, expected) in cases {
        let scratch = setup.scratch(id).await;
        let activation = setup.activate(&scratch);
        // A path of a socket is short.
        let link = setup.dir.path().join(id);
        symlink(activation.path().join("Files"), &link).unwrap();
        doing(&link);
        let error = refused(&scratch);
        assert!(error.contains(expected), "{id}: {error}");
        setup.difference(&scratch).changes().unwrap();
    }
}

#[tokio::test]
async fn a_tree_that_is_too_deep_is_refused() {
    let setup = Setup::new(&[base()]).await;
    let scratch = setup.scratch("c").await;
    let mut directory = scratch.join("upper/Files");
    for _ in 0..600 {
        directory.push("d");
    }
    fs::create_dir_all(directory).unwrap();
    let error = setup.difference(&scratch).changes().unwrap_err();
    assert!(error.to_string().contains("deeper"), "{error}");
}
