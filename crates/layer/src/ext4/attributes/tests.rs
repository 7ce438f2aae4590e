//! What the module promises, case by case.

use super::*;

fn attributes(xattrs: &[(&str, &[u8])]) -> Result<Attributes, LayerError> {
    let xattrs: Vec<_> = xattrs
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()))
        .collect();
    Attributes::new(&xattrs, true, true, &Place::default())
}

#[test]
fn small_sets_need_no_block() {
    let label = b"system_u:object_r:container_file_t:s0\0";
    let layout = attributes(&[("security.selinux", label)])
        .unwrap()
        .layout()
        .unwrap();
    assert!(layout.block.is_none());
    assert_eq!(layout.inline[..4], MAGIC.to_le_bytes());
}

#[test]
fn what_does_not_fit_the_inode_goes_to_a_block_and_no_further() {
    let two = attributes(&[("user.a", &[1; 2000]), ("user.b", &[2; 2000])]).unwrap();
    assert!(two.layout().unwrap().block.is_some());
    let three = [
        ("user.a", &[1; 2000][..]),
        ("user.b", &[2; 2000]),
        ("user.c", &[3; 2000]),
    ];
    assert_eq!(
        attributes(&three)
            .unwrap()
            .check(&Place::default())
            .unwrap_err()
            .code(),
        "limit"
    );
}

#[test]
fn overlay_attributes_are_dropped() {
    let set = attributes(&[
        ("trusted.overlay.opaque", b"y"),
        ("trusted.overlay.redirect", b"/etc"),
        ("user.overlay.opaque", b"y"),
        ("user.fuseoverlayfs.whiteout", b"y"),
    ]);
    assert!(set.unwrap().is_empty());
}

#[test]
fn names_need_a_known_prefix() {
    for name in ["foo", "system.other", "user.", "security.a\0b"] {
        assert_eq!(
            attributes(&[(name, b"1")]).unwrap_err().code(),
            "bad-attribute",
            "{name:?}"
        );
    }
    assert_eq!(
        attributes(&[("user.a", &vec![0; 70 << 10])]).unwrap_err().code(),
        "limit"
    );
}

#[test]
fn access_lists_are_rewritten_for_the_disk() {
    let entry =
        |tag: u8, permissions: u8, id: u32| [&[tag, 0, permissions, 0][..], &id.to_le_bytes()].concat();
    let list = [
        vec![2, 0, 0, 0],
        entry(1, 7, u32::MAX),
        entry(2, 5, 1000),
        entry(0x10, 7, u32::MAX),
    ]
    .concat();
    let disk = access_list(&list).unwrap();
    assert_eq!(
        disk,
        [1, 0, 0, 0, 1, 0, 7, 0, 2, 0, 5, 0, 0xe8, 3, 0, 0, 0x10, 0, 7, 0]
    );
    assert!(access_list(&list[..list.len() - 1]).is_none());
    assert!(access_list(&[1, 0, 0, 0]).is_none());
}
