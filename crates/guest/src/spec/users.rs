//! Users and groups of an image, read from its own `/etc/passwd` and `/etc/group`.

/// The two files, parsed line by line; lines that do not parse are skipped, as the C library does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Users {
    users: Vec<User>,
    groups: Vec<Group>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// What a user string stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
}

/// A name that the image does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UserError {
    /// The part before the colon.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    User(String),
    /// The part after the colon.
    #[error("unable to find group {0}: no matching entries in group file")]
    Group(String),
}

impl Users {
    /// Reads the two files.
    pub(crate) fn parse(passwd: &str, group: &str) -> Self {
        let users = passwd.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, _, home, ..] = fields[..] else {
                return None;
            };
            let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
            Some(User {
                name: name.to_owned(),
                uid,
                gid,
                home: home.to_owned(),
            })
        });
        let groups = group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, gid, members] = fields[..] else {
                return None;
            };
            let members = members
                .split(',')
                .filter(|member| !member.is_empty())
                .map(str::to_owned)
                .collect();
            Some(Group {
                name: name.to_owned(),
                gid: gid.parse().ok()?,
                members,
            })
        });
        Self {
            users: users.collect(),
            groups: groups.collect(),
        }
    }

    /// Resolves `user[:group]`, each a name or a number. A number needs no entry; a user without one is in group 0.
    pub(crate) fn resolve(&self, text: &str) -> Result<Resolved, UserError> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let number = user.parse::<u32>().ok();
        let known = self
            .users
            .iter()
            .find(|entry| entry.name == user)
            .or_else(|| self.users.iter().find(|entry| Some(entry.uid) == number));
        let (uid, own) = match (known, number) {
            (Some(entry), _) => (entry.uid, entry.gid),
            (None, Some(uid)) => (uid, 0),
            // Only a group: root's.
            (None, None) if user.is_empty() => (0, 0),
            (None, None) => return Err(UserError::User(user.to_owned())),
        };
        if !group.is_empty() {
            let named = self
                .groups
                .iter()
                .find(|entry| entry.name == group)
                .map(|entry| entry.gid);
            let gid = named
                .or_else(|| group.parse().ok())
                .ok_or_else(|| UserError::Group(group.to_owned()))?;
            return Ok(Resolved {
                uid,
                gid,
                groups: Vec::new(),
            });
        }
        let groups = known.map_or_else(Vec::new, |entry| {
            self.groups
                .iter()
                .filter(|group| group.members.contains(&entry.name))
                .map(|group| group.gid)
                .collect()
        });
        Ok(Resolved {
            uid,
            gid: own,
            groups,
        })
    }

    /// The home of a user id.
    pub(crate) fn home(&self, uid: u32) -> &str {
        let entry = self
            .users
            .iter()
            .find(|entry| entry.uid == uid && !entry.home.is_empty());
        entry.map_or("/", |entry| &entry.home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        Users::parse(
            "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:1001:App:/home/app:/bin/sh\n1234:x:7:7::/:\n",
            "root:x:0:\nwheel:x:10:root,app\nweb:x:33:app\nbroken:x\n",
        )
    }

    #[test]
    fn a_name_brings_its_groups() {
        assert_eq!(
            users().resolve("app"),
            Ok(Resolved {
                uid: 1000,
                gid: 1001,
                groups: vec![10, 33]
            })
        );
    }

    #[test]
    fn a_number_with_an_entry_is_that_user_and_without_one_in_group_zero() {
        assert_eq!(users().resolve("1000").unwrap().gid, 1001);
        assert_eq!(
            users().resolve("4242"),
            Ok(Resolved {
                uid: 4242,
                gid: 0,
                groups: vec![]
            })
        );
    }

    #[test]
    fn a_name_made_of_digits_wins_over_the_number() {
        assert_eq!(users().resolve("1234").unwrap().uid, 7);
    }

    #[test]
    fn a_group_replaces_all_groups_of_the_user() {
        assert_eq!(
            users().resolve("app:web"),
            Ok(Resolved {
                uid: 1000,
                gid: 33,
                groups: vec![]
            })
        );
        assert_eq!(
            users().resolve("0:5"),
            Ok(Resolved {
                uid: 0,
                gid: 5,
                groups: vec![]
            })
        );
    }

    #[test]
    fn unknown_names_are_errors_that_say_which_file() {
        assert_eq!(users().resolve("eve"), Err(UserError::User("eve".into())));
        assert_eq!(users().resolve("app:eve"), Err(UserError::Group("eve".into())));
    }

    #[test]
    fn homes_come_from_the_image() {
        assert_eq!(users().home(1000), "/home/app");
        assert_eq!(users().home(5), "/");
    }
}
