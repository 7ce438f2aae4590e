//! Random archives against a simple file system: both must agree on every name or on the refusal. Needs root.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use crate::kit::archive::Archive;
use crate::kit::convert;
use crate::kit::mounted::Mounted;

#[derive(Debug, Clone)]
enum Step {
    File(String, u8, usize),
    Directory(String),
    Symlink(String, String),
    HardLink(String, String),
    Whiteout(String),
    Opaque(String),
}

/// The model: every file is a shared node, a directory a map.
#[derive(Debug)]
enum Node {
    File(Vec<u8>),
    Symlink(String),
    Directory {
        children: BTreeMap<String, Child>,
        opaque: bool,
    },
}

type Shared = Rc<RefCell<Node>>;

/// A name: what it refers to, unless only a whiteout, and whether there was a whiteout.
#[derive(Debug, Clone, Default)]
struct Child {
    node: Option<Shared>,
    whited_out: bool,
}

fn directory(opaque: bool) -> Shared {
    Rc::new(RefCell::new(Node::Directory {
        children: BTreeMap::new(),
        opaque,
    }))
}

struct Model {
    root: Shared,
}

type Refusal = &'static str;

impl Model {
    /// Walks a path from a stack of directories; follows links; makes what is missing.
    fn walk(&self, path: &str, create: bool) -> Result<Shared, Refusal> {
        let mut stack = vec![Rc::clone(&self.root)];
        let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut followed = 0;
        while let Some(name) = left.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    if stack.len() > 1 {
                        stack.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let here = Rc::clone(stack.last().unwrap());
            let child = child(&here, &name).unwrap_or_default();
            let Some(node) = child.node else {
                if !create {
                    return Err("bad-link");
                }
                let made = directory(child.whited_out);
                set(&here, &name, Rc::clone(&made));
                stack.push(made);
                continue;
            };
            let target = match &*node.borrow() {
                Node::File(_) => return Err(if create { "bad-parent" } else { "bad-link" }),
                Node::Symlink(target) => Some(target.clone()),
                Node::Directory { .. } => None,
            };
            match target {
                None => stack.push(node),
                Some(target) => {
                    followed += 1;
                    if followed > 40 {
                        return Err(if create { "bad-parent" } else { "bad-link" });
                    }
                    if target.starts_with('/') {
                        stack.truncate(1);
                    }
                    left.extend(target.split('/').rev().map(str::to_owned));
                }
            }
        }
        Ok(stack.pop().unwrap())
    }

    fn apply(&self, step: &Step) -> Result<(), Refusal> {
        let parts = |path: &str| {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            (parent.to_owned(), name.to_owned())
        };
        match step {
            Step::File(path, byte, length) => {
                let (parent, name) = parts(path);
                let file = Rc::new(RefCell::new(Node::File(vec![*byte; *length])));
                set(&self.walk(&parent, true)?, &name, file);
            }
            Step::Symlink(path, target) => {
                let (parent, name) = parts(path);
                set(
                    &self.walk(&parent, true)?,
                    &name,
                    Rc::new(RefCell::new(Node::Symlink(target.clone()))),
                );
            }
            Step::Directory(path) => {
                let (parent, name) = parts(path);
                let parent = self.walk(&parent, true)?;
                let existing = child(&parent, &name).unwrap_or_default();
                let is_directory = existing
                    .node
                    .as_ref()
                    .is_some_and(|node| matches!(&*node.borrow(), Node::Directory { .. }));
                if !is_directory {
                    set(&parent, &name, directory(existing.whited_out));
                }
            }
            Step::HardLink(path, target) => {
                let (target_parent, target_name) = parts(target);
                let from = self.walk(&target_parent, false)?;
                let node = child(&from, &target_name)
                    .and_then(|child| child.node)
                    .ok_or("bad-link")?;
                if matches!(&*node.borrow(), Node::Directory { .. }) {
                    return Err("bad-link");
                }
                let (parent, name) = parts(path);
                let parent = self.walk(&parent, true)?;
                if Rc::ptr_eq(&parent, &from) && name == target_name {
                    return Err("bad-link");
                }
                set(&parent, &name, node);
            }
            Step::Whiteout(path) => {
                let (parent, name) = parts(path);
                let parent = self.walk(&parent, true)?;
                let Node::Directory { children, .. } = &mut *parent.borrow_mut() else {
                    unreachable!()
                };
                let child = children.entry(name).or_default();
                child.whited_out = true;
                if let Some(node) = &child.node
                    && let Node::Directory { opaque, .. } = &mut *node.borrow_mut()
                {
                    *opaque = true;
                }
            }
            Step::Opaque(path) => {
                let here = self.walk(path, true)?;
                let Node::Directory { opaque, .. } = &mut *here.borrow_mut() else {
                    unreachable!()
                };
                *opaque = true;
            }
        }
        Ok(())
    }

    /// The same lines that a mounted image gives.
    fn list(&self) -> BTreeMap<String, String> {
        let mut links: BTreeMap<usize, usize> = BTreeMap::new();
        let mut found = Vec::new();
        collect(&self.root, "", &mut found);
        for (_, node) in &found {
            if let Some(node) = node {
                *links.entry(Rc::as_ptr(node).cast::<u8>() as usize).or_default() += 1;
            }
        }
        found
            .into_iter()
            .map(|(path, node)| {
                let what = match &node {
                    None => "whiteout".to_owned(),
                    Some(shared) => match &*shared.borrow() {
                        Node::File(content) => {
                            let count = links[&(Rc::as_ptr(shared).cast::<u8>() as usize)];
                            format!("{count} links: {}", content.escape_ascii())
                        }
                        Node::Symlink(target) => format!("-> {target}"),
                        Node::Directory { opaque: true, .. } => "opaque directory".to_owned(),
                        Node::Directory { .. } => "directory".to_owned(),
                    },
                };
                (path, what)
            })
            .collect()
    }
}

fn child(directory: &Shared, name: &str) -> Option<Child> {
    match &*directory.borrow() {
        Node::Directory { children, .. } => children.get(name).cloned(),
        _ => unreachable!("only directories are walked"),
    }
}

fn set(directory: &Shared, name: &str, node: Shared) {
    if let Node::Directory { children, .. } = &mut *directory.borrow_mut() {
        children.entry(name.to_owned()).or_default().node = Some(node);
    }
}

fn collect(directory: &Shared, prefix: &str, found: &mut Vec<(String, Option<Shared>)>) {
    if let Node::Directory { children, .. } = &*directory.borrow() {
        for (name, child) in children {
            let path = format!("{prefix}{name}");
            found.push((path.clone(), child.node.clone()));
            if let Some(node) = &child.node {
                collect(node, &format!("{path}/"), found);
            }
        }
    }
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec("[abc]", 1..4).prop_map(|parts| parts.join("/"))
}

fn target() -> impl Strategy<Value = String> {
    let start = prop_oneof![Just(""), Just("/"), Just("../"), Just("../../")];
    (start, path()).prop_map(|(start, path)| format!("{start}{path}"))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (path(), any::<u8>(), prop_oneof![0usize..20, 4090usize..4100]).prop_map(|(path, byte, length)| Step::File(path, byte, length)),
        4 => path().prop_map(Step::Directory),
        2 => (path(), target()).prop_map(|(path, target)| Step::Symlink(path, target)),
        2 => (path(), path()).prop_map(|(path, target)| Step::HardLink(path, target)),
        2 => path().prop_map(Step::Whiteout),
        1 => path().prop_map(Step::Opaque),
    ]
}

fn archive(steps: &[Step]) -> Archive {
    steps.iter().fold(Archive::new(), |archive, step| match step {
        Step::File(path, byte, length) => archive.file(path, vec![*byte; *length]),
        Step::Directory(path) => archive.directory(path),
        Step::Symlink(path, target) => archive.symlink(path, target),
        Step::HardLink(path, target) => archive.hard_link(path, target),
        Step::Whiteout(path) => {
            let (parent, name) = path
                .rsplit_once('/')
                .map_or((String::new(), path.as_str()), |(p, n)| (format!("{p}/"), n));
            archive.file(format!("{parent}.wh.{name}"), "")
        }
        Step::Opaque(path) => archive.file(format!("{path}/.wh..wh..opq"), ""),
    })
}

/// Drops the steps that the model refuses, and tells what it says about the first of them.
fn accepted(steps: &[Step]) -> (Vec<Step>, Option<(usize, Refusal)>) {
    let mut refusal = None;
    let mut kept: Vec<Step> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        // A refused step may have made directories: start again.
        let model = Model {
            root: directory(false),
        };
        kept.iter().for_each(|step| model.apply(step).unwrap());
        match model.apply(step) {
            Ok(()) => kept.push(step.clone()),
            Err(code) => {
                refusal.get_or_insert((index, code));
            }
        }
    }
    (kept, refusal)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_image_equals_the_model(steps in prop::collection::vec(step(), 1..25)) {
        let (kept, refusal) = accepted(&steps);
        match (convert(&archive(&steps).end()), refusal) {
            (Ok(_), None) => {}
            (Err(error), Some((index, code))) => {
                prop_assert_eq!(error.code(), code);
                prop_assert_eq!(error.place().map(|place| place.entry), Some(index as u64 + 1));
            }
            (result, refusal) => prop_assert!(false, "{result:?} but the model says {refusal:?}"),
        }
        let model = Model { root: directory(false) };
        kept.iter().for_each(|step| model.apply(step).unwrap());
        let image = Mounted::new(convert(&archive(&kept).end()).unwrap().1);
        prop_assert_eq!(image.list(), model.list());
    }
}
