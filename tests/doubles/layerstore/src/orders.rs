//! Orders to misbehave, from a file that the test writes; see the header of the crate.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::code::Code;
use crate::journal::misuse;
use crate::lock::Lock;

/// What a call is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Nothing is done.
    Fail(Code),
    /// Something is done all the same.
    Late(Code),
    /// Nothing is done before the line is gone.
    Hang,
    /// Of guests: the machine dies.
    Die,
}

/// The file.
#[must_use]
pub fn file() -> Option<PathBuf> {
    std::env::var_os("CTR_LIKE_LAYER_ORDERS").map(PathBuf::from)
}

fn parse(order: &str) -> Option<Order> {
    let code = |text: &str| u32::from_str_radix(text, 16).ok().map(Code);
    match order {
        "hang" => Some(Order::Hang),
        "die" => Some(Order::Die),
        late if late.starts_with("late:") => code(&late[5..]).map(Order::Late),
        text => code(text).map(Order::Fail),
    }
}

/// The order for a call, which is used up by this.
///
/// # Panics
/// The file cannot be written.
#[must_use]
pub fn take(function: &str) -> Option<Order> {
    let file = file()?;
    let _lock = Lock::new();
    let text = fs::read_to_string(&file).ok()?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let place = lines.iter().position(|line| {
        line.split_once('=')
            .is_some_and(|(name, _)| name.trim() == function)
    })?;
    let rest = lines[place]
        .split_once('=')
        .map(|(_, rest)| rest.trim().to_owned())?;
    let (order, count) = match rest.split_once(" x") {
        Some((order, count)) => (order.trim(), count.trim().parse::<u32>().ok()),
        None => (rest.as_str(), Some(0)),
    };
    let (Some(order), Some(count)) = (parse(order), count) else {
        misuse(function, format_args!("the order {rest} is none"));
        return None;
    };
    match count {
        0 => {}
        1 => drop(lines.remove(place)),
        count => lines[place] = lines[place].replace(&format!(" x{count}"), &format!(" x{}", count - 1)),
    }
    if count > 0 {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&file, text).unwrap();
    }
    Some(order).filter(|order| *order != Order::Fail(Code(0)))
}

/// Waits until nobody orders the function to hang.
pub(crate) fn hang(function: &str) {
    while is_ordered(function, "hang") {
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Whether there is exactly this order; it is not used up.
#[must_use]
pub fn is_ordered(function: &str, order: &str) -> bool {
    let text = file().and_then(|file| fs::read_to_string(file).ok());
    let line = format!("{function}={order}");
    text.is_some_and(|text| text.lines().any(|found| found.trim() == line))
}
