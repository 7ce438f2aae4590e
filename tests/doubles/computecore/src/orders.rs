//! Orders to misbehave, carried by the owner of a system: `owner; Function=order, Function=order`.
//!
//! * `fail:HEX`: the request fails with this code, after it was accepted.
//! * `refuse:HEX`: the call itself answers this code.
//! * `hang`: the request is accepted and does not finish before the system has ended; a signal, before its process has.
//! * `block`: the call itself does not return before the system has ended.
//! * `sync`: of `HcsCreateProcess`: finished at once, without process information for whoever waits.
//! * `late`: of `HcsSetProcessCallback`: registered when the process has ended.
//! * `die`: of guests, which are named `Guest.MESSAGE` or `Guest.connect`: the machine ends.
//! * `disconnect`: the service dies: every handle of the system is dead.

use std::collections::HashMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Fail(u32),
    Refuse(u32),
    Hang,
    Block,
    Sync,
    Late,
    Die,
    Disconnect,
}

/// The orders in the owner of a system.
pub(crate) fn orders(owner: &str) -> HashMap<String, Order> {
    let Some((_, list)) = owner.split_once(';') else {
        return HashMap::new();
    };
    list.split(',')
        .map(|entry| {
            let (function, order) = entry.trim().split_once('=').unwrap_or((entry, ""));
            (function.to_owned(), parse(order))
        })
        .collect()
}

fn parse(order: &str) -> Order {
    let code = |text: &str| u32::from_str_radix(text, 16).unwrap_or(0x8000_4005);
    match order.split_once(':') {
        Some(("fail", text)) => Order::Fail(code(text)),
        Some(("refuse", text)) => Order::Refuse(code(text)),
        _ => match order {
            "hang" => Order::Hang,
            "block" => Order::Block,
            "sync" => Order::Sync,
            "late" => Order::Late,
            "die" => Order::Die,
            "disconnect" => Order::Disconnect,
            _ => Order::Fail(0x8000_4005),
        },
    }
}
