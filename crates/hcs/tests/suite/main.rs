//! The suites of the room, in one program because each costs a link: field tables, recorded documents, hostile ones.

mod fields;
mod golden;
mod hostile;
