//! One call: journal, orders, lock, work.

use serde_json::Value;

use crate::code::{Answer, Code};
use crate::journal::called;
use crate::lock::Lock;
use crate::orders::{self, Order};

/// Does the work of a call and answers its HRESULT.
pub fn run(function: &'static str, arguments: &Value, work: impl FnOnce() -> Answer) -> i32 {
    called(function, arguments);
    let mut late = None;
    match orders::take(function) {
        Some(Order::Fail(code)) => return code.as_i32(),
        Some(Order::Late(code)) => late = Some(code),
        Some(Order::Hang) => orders::hang(function),
        Some(Order::Die) | None => {}
    }
    let _lock = Lock::new();
    let done = work();
    late.or(done.err()).map_or(0, Code::as_i32)
}
